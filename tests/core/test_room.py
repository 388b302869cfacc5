"""The room that a prompt leaves in the context, and prompts that cannot fit, which never leave."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tts
from tts import Candidate, Problem, Run
from tts.core.actions import Finished, Request, prompt_bound
from tts.core.journal.records import ChecksumChain, Header
from tts.core.room import room_of
from tts.core.trials.trial import Trial
from tts.errors import RunMismatch
from tts.models.cost_model import CostModel, ModelCost
from tts.runs.folder import read_records
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.types import Message, Sampling, StrategySpec

CONTEXT = 1000
COSTS = CostModel({"solver": ModelCost(context_tokens=CONTEXT), "small": ModelCost()}, "solver")


def trial(strategy: Any, costs: CostModel = COSTS) -> Trial:
    sampling = Sampling(max_tokens=10)
    return Trial("c/p", Problem("p", "How many?"), strategy, StrategySpec("tried"), costs=costs, sampling=sampling)


def test_the_room_is_what_the_context_has_beyond_the_most_that_the_prompt_can_be() -> None:
    seen: dict[str, int | None] = {}

    async def asks(problem: Problem, run: Run) -> Candidate:
        (found,) = await run.generate()
        seen["own"] = run.room()
        seen["text"] = run.room("é" * 100, system="Be brief.")
        seen["continued"] = run.room(continue_from="x" * 50)
        seen["full"] = run.room("x" * CONTEXT)
        seen["unknown"] = run.room(model="small")
        return found

    tried = trial(asks)
    (action,) = tried.start()
    tried.tell(Finished(action.id, 1.0, tts.Completion("Answer: 1")))
    assert tried.result.error is None
    assert seen["own"] == CONTEXT - 256 - 8 - len("How many?")
    assert seen["text"] == CONTEXT - 256 - 8 - 200 - 8 - len("Be brief.")
    assert seen["continued"] == CONTEXT - 256 - 8 - len("How many?") - 8 - 50
    assert (seen["full"], seen["unknown"]) == (0, None)


@given(st.text(max_size=300), st.integers(1, 2000))
def test_what_the_room_leaves_always_fits(text: str, context: int) -> None:
    request = Request((Message("user", text),))
    costs = CostModel({"solver": ModelCost(context_tokens=context)}, "solver")
    left = room_of(costs, request)
    assert left is not None and (left == 0 or left + prompt_bound(request) == context)


@pytest.mark.parametrize(("words", "leaves"), [(CONTEXT - 1, True), (CONTEXT, False)])
def test_only_a_prompt_that_cannot_fit_is_refused_before_it_leaves(words: int, leaves: bool) -> None:
    async def long(problem: Problem, run: Run) -> Candidate:
        return (await run.generate("word " * words))[0]

    tried = trial(long)
    assert bool(tried.start()) is leaves
    if not leaves:
        error = tried.result.error
        assert error is not None and error.type == "AllFailed"
        assert f"the prompt has {CONTEXT:,} words" in error.message and "holds 1,000 tokens" in error.message
        assert error.facts["cause"]["type"] == "ContextTooLong"
    assert trial(long, CostModel()).start()  # where the context is not known, the server decides


def test_a_strategy_falls_back_on_what_it_has_as_where_the_server_refuses() -> None:
    async def twice(problem: Problem, run: Run) -> Candidate:
        await run.generate()
        return (await run.generate("word " * CONTEXT))[0]

    tried = trial(twice)
    (action,) = tried.start()
    tried.tell(Finished(action.id, 1.0, tts.Completion("Answer: 1")))
    assert tried.result.error is None and tried.result.answer == "1"


def test_the_context_is_the_one_that_the_server_says() -> None:
    rooms: list[int | None] = []

    async def asks(problem: Problem, run: Run) -> Candidate:
        rooms.append(run.room())
        return (await run.generate())[0]

    with FakeEngine(lambda _: Reply(("4",)), context_tokens=4096) as engine:
        tts.solve("How many?", asks, base_url=engine.base_url)
    with FakeEngine(lambda _: Reply(("4",))) as engine:
        tts.solve("How many?", asks, base_url=engine.base_url)
    assert set(rooms) == {4096 - 256 - 8 - len("How many?"), None}


async def by_room(problem: Problem, run: Run) -> Candidate:
    """Two samples, each for as many words as there is room."""
    for _ in range(2):
        found = await run.generate(f"Write {run.room()} words.")
    return found[0]


@pytest.mark.parametrize("call", ["solve", "sweep"])
@pytest.mark.parametrize("later", [2048, 8192, None])
def test_a_resumed_run_decides_by_the_context_that_it_began_with(call: str, later: int | None, tmp_path: Path) -> None:
    asks: Any = {
        "solve": partial(tts.solve, "How many?", by_room),
        "sweep": partial(tts.sweep, [tts.Example(Problem("p", "How many?"), "4")], by_room, report=False),
    }[call]
    with FakeEngine(lambda _: Reply(("4",)), context_tokens=4096) as engine:
        asks(base_url=engine.base_url, out=tmp_path)
        (asked, _) = [request["messages"][-1]["content"] for request in engine.requests]
    cut_after_the_first_sample(tmp_path / "journal.jsonl")
    with FakeEngine(lambda _: Reply(("4",)), context_tokens=later) as engine:
        asks(base_url=engine.base_url, out=tmp_path)
        assert [request["messages"][-1]["content"] for request in engine.requests] == [asked]
    if later == 2048:
        models = {"solver": {"model": "fake", "base_url": "http://127.0.0.1:9/v1", "context_tokens": 2048}}
        with FakeEngine(lambda _: Reply(("4",))) as engine:
            models["solver"]["base_url"] = engine.base_url
            with pytest.raises(RunMismatch, match="the context of the model solver: was 4096, now 2048 tokens"):
                asks(models=models, out=tmp_path)


def cut_after_the_first_sample(journal: Path) -> None:
    """Leave the journal of a run that was killed when its second sample was under way."""
    lines = journal.read_bytes().splitlines(keepends=True)
    samples = [i for i, record in enumerate(read_records(journal)) if isinstance(record, Finished)]
    journal.write_bytes(b"".join(lines[: samples[1]]))


def test_a_journal_that_names_no_context_is_resumed_with_the_one_of_today(tmp_path: Path) -> None:
    with FakeEngine(lambda _: Reply(("4",)), context_tokens=4096) as engine:
        tts.solve("How many?", by_room, base_url=engine.base_url, out=tmp_path)
        journal = tmp_path / "journal.jsonl"
        records = [*read_records(journal)]
        header = records[0]
        assert isinstance(header, Header) and header.config["contexts"] == {"solver": 4096}
        older = {name: value for name, value in header.config.items() if name != "contexts"}
        chain = ChecksumChain()
        before = [Header(header.version, header.program, older), *records[1:-3]]
        journal.write_bytes(b"".join(chain.written(record) for record in before))
        tts.solve("How many?", by_room, base_url=engine.base_url, out=tmp_path)
        assert len(engine.requests) == 3
