"""Results read back: `tts.load` of a run folder, `tts.Pool.read` of a pool, and `tts.areplay` beside an event loop."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

import tts
from tts import Candidate, Limits, Problem, Run, StrategySpec
from tts.clusters.virtual.fleet import Fleet
from tts.errors import RunError
from tts.runs.folder import JOURNAL, PLAN, SOLVED
from tts.runs.problem_files import OUTCOMES, PROBLEMS
from tts.testing.engine import FakeEngine


def test_a_sweep_is_loaded_as_it_was_returned_and_nothing_is_written(tmp_path: Path) -> None:
    with FakeEngine() as engine:
        specs = ["single", "majority_vote:n=2"]
        swept = tts.sweep("arithmetic?size=3", specs, out=tmp_path, base_url=engine.base_url, report=False)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    loaded = tts.load(tmp_path)
    assert loaded == msgspec.structs.replace(swept, files={})
    assert loaded.complete and [row.strategy for row in loaded.rows] == ["single", "majority_vote"]
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_a_report_is_written_into_the_folder_of_a_sweep_and_into_no_other(tmp_path: Path) -> None:
    with FakeEngine() as engine:
        swept = tts.sweep("arithmetic?size=2", "single", out=tmp_path, base_url=engine.base_url, report=False)
    reported = tts.report(tmp_path)
    assert msgspec.structs.replace(reported, files={}) == msgspec.structs.replace(swept, files={})
    assert reported.files["report.html"] == tmp_path / "report.html"
    assert "<html" in (tmp_path / "report.html").read_text()
    (tmp_path / PROBLEMS).unlink()
    with pytest.raises(tts.UsageError, match="is not the folder of a sweep: it has no problems"):
        tts.report(tmp_path)


def test_a_run_that_was_cut_off_is_loaded_as_incomplete(tmp_path: Path) -> None:
    with FakeEngine() as engine:
        tts.sweep("arithmetic?size=3", "single", out=tmp_path, base_url=engine.base_url, report=False)
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if b'"decided"' in line)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[:last]))
    loaded = tts.load(tmp_path)
    assert not loaded.complete
    assert (len(loaded.outcomes), loaded.planned) == (2, 3)
    assert loaded.unfinished.startswith("2 of 3 trials are decided")
    tts.report(tmp_path)
    assert loaded.unfinished in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("budget", ["samples=3", "samples=8"])
def test_a_solved_problem_is_loaded_as_it_was_returned(tmp_path: Path, budget: str) -> None:
    with FakeEngine() as engine:
        strategy = "best_of_n:n=4,verifier=self_certainty"
        solved = tts.solve("What is 19 + 23?", strategy, budget=budget, out=tmp_path, base_url=engine.base_url)
        assert solved.candidates and solved.result.scores
        assert tts.load(tmp_path) == solved
        (tmp_path / SOLVED).unlink()  # killed before it was written
        with pytest.raises(RunError, match="repeat that call with the same folder"):
            tts.load(tmp_path)
        again = tts.solve("What is 19 + 23?", strategy, budget=budget, out=tmp_path, base_url=engine.base_url)
    assert tts.load(tmp_path) == again == solved


def test_a_replay_is_loaded_as_it_was_returned(tmp_path: Path) -> None:
    for i, limits in enumerate(({}, {"run_budget": "usd=0.01"}, {"budgets": "tokens=50,usd=1"})):
        replayed = tts.replay(
            "example", ["single", "first_finish:n=4,k=1"], price_in=0.3, price_out=0.7, out=tmp_path / str(i),
            report=False, **limits,
        )  # fmt: skip
        assert tts.load(tmp_path / str(i)) == msgspec.structs.replace(replayed, files={})


def test_a_plan_is_loaded_as_it_was_returned(tmp_path: Path) -> None:
    plan = tts.plan(None, history="example", run_budget="samples=40", draws=2, allocators="uniform", out=tmp_path)
    assert tts.load(tmp_path) == plan


def test_a_folder_that_no_call_wrote_is_refused_and_so_are_files_that_were_changed(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(tts.UsageError, match="holds no result of tts: it has neither"):
            tts.load(folder)
    for name in (OUTCOMES, PLAN):
        (tmp_path / name).write_bytes(b'{"cell": 7}\n')
        with pytest.raises(RunError, match=f"{name} does not hold a result as it was written"):
            tts.load(tmp_path)


def test_a_pool_is_read_by_its_class() -> None:
    pool = tts.Pool.read("example")
    assert isinstance(pool, tts.Pool) and len(pool) == 40 * 32
    with pytest.raises(tts.UsageError, match="there is no pool at nowhere"):
        tts.Pool.read("nowhere.parquet")


async def shortest(problem: Problem, run: Run, *, n: int = 4) -> Candidate:
    return min(await run.generate(n=n), key=lambda candidate: candidate.tokens)


def test_strategies_and_budgets_may_be_objects_wherever_they_may_be_texts() -> None:
    spec, three, many = StrategySpec("majority_vote", {"n": 4}), Limits(samples=3), Limits(samples=90)
    found = tts.replay("example", [spec, partial(shortest, n=2)], budgets=[three], run_budget=many)
    assert [row.strategy for row in found.rows] == ["majority_vote", "shortest"]
    assert {row.budget for row in found.rows} == {"samples=3"}
    texts = tts.replay("example", "majority_vote:n=4", budgets="samples=3", run_budget="samples=90")
    assert texts.rows[0].tokens == found.rows[0].tokens
    with FakeEngine() as engine:
        for strategy in (spec, partial(shortest, n=4)):
            solved = tts.solve("What is 19 + 23?", strategy, budget=Limits(samples=4), base_url=engine.base_url)
            assert len(solved.candidates) == 4
        assert tts.solve("?", spec, params={"n": 2}, base_url=engine.base_url).cost.samples == 2


def test_problems_without_references_may_be_given_as_they_are() -> None:
    problems = [Problem(f"p{i}", f"What is {i} + 23?") for i in range(2)]
    with FakeEngine() as engine:
        found = tts.sweep(problems, "majority_vote:n=2", base_url=engine.base_url)
        one = tts.sweep(problems[0], "majority_vote:n=2", base_url=engine.base_url)
    assert [outcome.correct for outcome in found.outcomes] == [None, None]
    assert [outcome.problem_id for outcome in one.outcomes] == ["p0"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tts.replay(3, "single"), "pool must be a Pool or text or a path, but got a int"),
        (lambda: tts.replay("example", "single", out=3), "out must be the path of a folder, but got 3"),
        (lambda: tts.replay("example", "single", fleet={"slots": 2}), "fleet must be a Fleet or None, but got a dict"),
        (lambda: tts.replay("example", "single", fleet=Fleet("2")), "replicas must be a whole number, but got a str"),
        (lambda: tts.replay("example", "single", on_cell=3), "on_cell must be a function, but got 3"),
        (lambda: tts.replay("example", "single", max_tokens=0), "max_tokens must be at least 1, but got 0"),
        (lambda: tts.sweep("chain?size=1", "single", progress=3), "progress must be a function, but got 3"),
        (
            lambda: tts.solve("?", budget="tokens=1k,2k"),
            "budget must be one budget, but 'tokens=1k,2k' is 2: tokens=1k",
        ),
        (lambda: tts.replay("example", "single", prices=3), "prices must be text or a path or None, but got a int"),
        (lambda: tts.replay("example", "single", processes="2"), "processes must be a whole number or None"),
        (lambda: tts.plan(None, history=3, run_budget="samples=9"), "history must be a Pool or text or a path or None"),
        (lambda: tts.plan(None, history="example", run_budget="samples=9", out=3), "out must be the path of a folder"),
        (lambda: tts.load(None), "folder must be the path of a folder, but got None"),
        (lambda: tts.report(3), "folder must be the path of a folder, but got 3"),
        (lambda: tts.Pool.read(3), "a pool is read from the path of a file, but got 3"),
        (lambda: tts.Pool.read("."), "`tts pool build .` makes one of a run"),
        (lambda: tts.solve("?", "single", model=Path("nowhere.gguf")), "nowhere.gguf is not a file"),
    ],
)
def test_what_is_no_such_object_is_refused_in_one_sentence(call: Callable[[], object], said: str) -> None:
    with pytest.raises(tts.UsageError) as refused:
        call()
    assert said in refused.value.message


def test_a_replay_beside_an_event_loop_finds_the_same_and_does_not_hold_the_loop_up() -> None:
    async def both() -> tuple[tts.Replayed, bool]:
        turned, waits = threading.Event(), []
        asyncio.get_running_loop().call_soon(turned.set)

        def on_cell(done: int, of: int) -> None:
            waits.append(turned.wait(60))

        return await tts.areplay("example", "majority_vote:n=2,4", on_cell=on_cell), all(waits)

    found, went_on = asyncio.run(both())
    assert went_on
    assert found == tts.replay("example", "majority_vote:n=2,4")


def test_a_replay_that_is_cancelled_ends_with_its_cell() -> None:
    cells: list[int] = []

    async def cancelled() -> None:
        loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def on_cell(done: int, of: int) -> None:
            cells.append(done)
            loop.call_soon_threadsafe(begun.set)
            go_on.wait(60)

        task = asyncio.create_task(tts.areplay("example", "majority_vote:n=2", seeds=50, on_cell=on_cell))
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert cells == [1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio")]


def test_a_replay_that_is_cancelled_does_not_wait_for_a_strategy_that_computes_for_ever() -> None:
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    ended_by: list[str] = []

    async def spins(problem: Problem, run: Run) -> Candidate:
        loop, begun = loops[0]
        loop.call_soon_threadsafe(begun.set)
        try:
            while not ended_by:
                pass
        except BaseException as error:
            ended_by.append(type(error).__name__)
            raise
        return (await run.generate(n=1))[0]

    async def cancelled() -> None:
        loops.append((asyncio.get_running_loop(), asyncio.Event()))
        task = asyncio.create_task(tts.areplay("example", spins))
        await loops[0][1].wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert ended_by == ["StepStopped"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio")]
