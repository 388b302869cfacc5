"""Sessions: state between steps, limits of steps, failures, and how a session is taken up again."""

import asyncio
import os
from pathlib import Path
from typing import Any

import environments
import pytest
from environments import Tally, broken
from live import Kept

from tts import Candidate, Limits, Problem, Run
from tts.clusters.local import LocalCluster
from tts.clusters.virtual.simulated import SimulatedCluster, SyntheticWorld
from tts.core.actions import Cancel, Cancelled, OpenSession, Returned, StepSession
from tts.core.budget import Ledger
from tts.core.journal.history import History
from tts.core.journal.records import Decided
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import CallFailed, CallTimedOut, InvalidParameter, SessionDiverged, UsageError
from tts.models.cost_model import CostModel
from tts.testing import Outcome, ScriptedCluster, StrategyContract
from tts.types import Cost, StrategySpec
from tts.workers.killable_processes import Workers
from tts.workers.sessions import Sessions

PROBLEM = Problem("p", "How many?")
FILE = environments.__file__


async def tallies(problem: Problem, run: Run, *, steps: int = 3) -> Candidate:
    """Sample once for each step, and tell the session what was answered."""
    found = await run.generate()
    async with run.session(Tally, 10) as env:
        for number in range(steps):
            seen = await env.step(number)
            assert seen == {"sum": 10 + number * (number + 1) // 2}
            found = await run.generate()
    return found[0]


class TestTallies(StrategyContract):
    strategy = tallies
    worlds = range(2)  # each starts processes


def taken(sessions: Sessions, step: StepSession) -> Any:
    return sessions.step_sync(step, waiting_s=5.0, stops=lambda: False)


def ran(strategy: Any, **how: Any) -> Outcome:
    return ScriptedCluster(lambda request, number: "5", **how).run(strategy, PROBLEM)


def error_in(strategy: Any, **how: Any) -> str:
    error = ran(strategy, **how).result.error
    assert error is not None
    return f"{error.type}: {error.message}"


def test_a_session_keeps_its_state_between_steps_and_ends_with_its_block() -> None:
    outcome = ran(tallies)
    assert outcome.result.error is None, outcome.result.error
    (opened,) = (a for a in outcome.actions if isinstance(a, OpenSession))
    steps = [a for a in outcome.actions if isinstance(a, StepSession)]
    assert [len(step.past) for step in steps] == [0, 1, 2] and {step.session for step in steps} == {opened}
    assert outcome.actions[-1] == Cancel(opened.id)
    assert outcome.result.bill.total == Cost(4, 40, None, None, 3)


def test_a_step_that_fails_leaves_the_session_as_it_was_before() -> None:
    async def clumsy(problem: Problem, run: Run) -> Candidate:
        async with run.session(f"{FILE}:Tally") as env:
            assert await env.step(60) == {"sum": 60}
            with pytest.raises(CallFailed, match="Tally failed at the step 60: ValueError: more than a hundred"):
                await env.step(60)
            with pytest.raises(CallTimedOut):
                await env.step("hang", timeout_s=0.1)
            assert await env.step(40) == {"sum": 100}
            assert [action for action, _ in env.past] == [60, 40]
        return (await run.generate())[0]

    outcome = ran(clumsy)
    assert outcome.result.error is None, outcome.result.error
    assert outcome.result.bill.total.steps == 4, "failed steps count, too"


def test_steps_are_a_limit_and_the_strategy_falls_back_where_none_is_left() -> None:
    outcome = ran(tallies, budget=Limits.parse("steps=2"))
    result = outcome.result
    assert result.error is None and result.exhausted and result.answer == "5"
    assert len([a for a in outcome.actions if isinstance(a, StepSession)]) == 2
    assert result.shortage is not None and (result.shortage.action, result.shortage.limit) == ("step", "steps")


def test_a_part_has_steps_of_its_own_limits() -> None:
    async def whole(problem: Problem, run: Run) -> Candidate:
        found = await run.solve(tallies, limits="steps=1")
        assert run.remaining.steps == 4
        return found

    result = ran(whole, budget=Limits(steps=5)).result
    assert result.error is None and result.bill.total.steps == 1


def test_the_steps_of_a_whole_run_are_a_limit_for_all_of_its_trials_together() -> None:
    scheduler = Scheduler(
        [Planned("cell", Problem(f"p{i}", "?"), StrategySpec("tallies"), Limits(), 0) for i in range(3)],
        lambda text: tallies,
        costs=CostModel(),
        limits=Limits(steps=7),
        window=2,
    )
    exhausted: list[bool] = []
    world = SyntheticWorld(lambda prompt: 1.0, lambda prompt: "5")
    SimulatedCluster(world).run(scheduler, on_result=lambda result, _: exhausted.append(result.exhausted))
    assert scheduler.ledger.spent.steps == 7 and not scheduler.ledger.reservations
    assert 1 <= sum(exhausted) <= 2, "9 were asked for"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (broken, "which has no method step"),
        ("tts.tasks.chains:chain", "knows the reference answers"),
        ("nowhere:World", "nowhere"),
        (lambda: None, "one without a name"),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused_in_one_sentence(environment: Any, said: str) -> None:
    async def tries(problem: Problem, run: Run) -> Candidate:
        async with run.session(environment) as env:
            await env.step(1)
        return (await run.generate())[0]

    assert said in error_in(tries)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("unmade", "Odd could not be made with 1 arguments: KeyError: 'no such world'"),
        ("object", "Odd observed <object .* which is not JSON-like"),
        ("later", "Odd.step is an async def"),
    ],
)
def test_an_environment_that_fails_is_named_with_its_error(kind: str, said: str) -> None:
    with Workers(1) as workers, pytest.raises((CallFailed, InvalidParameter), match=said):
        taken(Sessions(lambda: workers), StepSession("t/2", OpenSession("t/1", f"{FILE}:Odd", (kind,)), 1, (), 5.0))


def test_an_environment_that_executes_programs_is_refused_unless_the_run_allows_that() -> None:
    opened = OpenSession("t/1", f"{FILE}:Shell", ())
    with Workers(1) as workers:
        sessions = Sessions(lambda: workers)
        with pytest.raises(UsageError, match="--unsafe-execute"):
            taken(sessions, StepSession("t/2", opened, 1, (), 5.0))
        allowed = OpenSession("t/1", f"{FILE}:Shell", (), unsafe_execute=True)
        assert taken(sessions, StepSession("t/2", allowed, 1, (), 5.0)) == {"sum": 1}


def test_a_session_is_used_inside_of_its_block_and_one_step_after_another() -> None:
    async def outside(problem: Problem, run: Run) -> Candidate:
        env = run.session(Tally)
        await env.step(1)
        return (await run.generate())[0]

    async def beside(problem: Problem, run: Run) -> Candidate:
        async with run.session(Tally) as env:
            await run.gather(env.step(1), env.step(2))
        return (await run.generate())[0]

    assert "is a block" in error_in(outside)
    assert "one after another" in error_in(beside)


WORLD = """
class World:
    said = 0

    def step(self, action):
        self.said += 1
        return [self.said, action]
"""


def test_a_session_is_taken_up_in_a_new_process_that_has_observed_the_same(tmp_path: Path) -> None:
    world = tmp_path / "world.py"
    world.write_text(WORLD)
    opened = OpenSession("t/1", f"{world}:World", ())
    past = (("a", [1, "a"]), ("b", [2, "b"]))
    with Workers(1) as workers:
        sessions = Sessions(lambda: workers)
        assert taken(sessions, StepSession("t/2", opened, "c", past, 5.0)) == [3, "c"]
        assert taken(sessions, StepSession("t/3", opened, "d", (*past, ("c", [3, "c"])), 5.0)) == [4, "d"]
    world.write_text(WORLD.replace("+= 1", "+= 2"))
    with (
        Workers(1) as workers,
        pytest.raises(SessionDiverged, match=r"step 1 of 2, 'a', was observed as .*, and now as"),
    ):
        taken(Sessions(lambda: workers), StepSession("t/2", opened, "c", past, 5.0))


@pytest.mark.parametrize(("most", "made"), [(2, 9), (3, 3)])
def test_sessions_beyond_the_most_processes_end_the_idlest_and_take_its_steps_again(
    tmp_path: Path, most: int, made: int
) -> None:
    notes = tmp_path / "pids"

    def alive() -> int:
        return sum(Path(f"/proc/{pid}").exists() for pid in notes.read_text().split())

    async def main() -> None:
        sessions, past = Sessions(most=most), dict[str, list[tuple[Any, Any]]]()
        for turn in (1, 2, 3):
            for id in ("a", "b", "c"):  # each is the one that has been idle for longest, when its turn comes
                opened, done = OpenSession(id, f"{FILE}:Noted", (str(notes),)), past.setdefault(id, [])
                observed = await sessions.step(StepSession(f"{id}/{turn}", opened, turn, tuple(done), 5.0))
                done.append((turn, observed))
                assert alive() <= most
        assert [one[-1][1] for one in past.values()] == [{"sum": 6}] * 3
        for id in past:
            await sessions.aend(id)
        assert alive() == 0

    asyncio.run(main())
    assert len(notes.read_text().split()) == made


def test_leaving_the_block_ends_the_process_that_a_live_session_had() -> None:
    pids: list[int] = []

    async def looks(problem: Problem, run: Run) -> Candidate:
        async with run.session(Tally) as env:
            pids.append(await env.step("pid"))
            assert await env.step("pid") == pids[0], "one process for all steps"
            os.kill(pids[0], 0)
        return run.propose("Answer: 5")

    async def main() -> None:
        scheduler = Scheduler(
            [Planned("cell", PROBLEM, StrategySpec("looks"), Limits(), 0)], lambda text: looks, costs=CostModel()
        )
        await LocalCluster({}).run(scheduler)

    asyncio.run(main())
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_steps_of_a_ledger_are_held_and_settled_like_samples() -> None:
    ledger = Ledger(Limits(steps=2))
    assert ledger.try_reserve("a", Cost(steps=1)) and ledger.try_reserve("b", Cost(steps=1))
    assert not ledger.try_reserve("c", Cost(steps=1)) and ledger.try_reserve("d", Cost(samples=5))
    ledger.settle("a", Cost(steps=1))
    ledger.release("b")
    assert (ledger.spent.steps, ledger.reserved.steps, ledger.left().steps) == (1, 0, 1)


def test_costs_and_limits_without_steps_are_written_as_they_were_before_there_were_any() -> None:
    assert repr(Cost(1, 2)) == "Cost(samples=1, tokens=2, picodollars=0, flops=0)"
    assert "steps" not in repr(Limits(tokens=1)) and str(Limits(tokens=2000, steps=5)) == "tokens=2k,steps=5"
    assert Limits(steps=6).divided(3) == Limits(steps=2) and Limits(steps=2).times(3) == Limits(steps=6)


def test_an_open_count_of_samples_is_not_ended_by_steps() -> None:
    assert "set n or a budget" in error_in("majority_vote:n=none", budget=Limits(steps=3))
    assert Limits(tokens=1, steps=1).bound_samples and Limits(seconds=1.0).bound_samples
    assert not Limits(steps=1).bound_samples and not Limits().bound_samples


def test_a_strategy_may_change_what_it_observes_and_reads_of_the_past() -> None:
    async def tampers(problem: Problem, run: Run) -> Candidate:
        async with run.session(Tally) as env:
            (await env.step(1)).clear()
            env.past[0][1].clear()
            with pytest.raises(CallFailed):
                await env.step(200)  # costs the process, so that the past is taken again
            assert await env.step(2) == {"sum": 3}
        return (await run.generate())[0]

    assert ran(tampers).result.error is None


def test_a_session_is_opened_once_and_its_limits_are_numbers() -> None:
    async def twice(problem: Problem, run: Run) -> Candidate:
        session = run.session(Tally)
        async with session:
            pass
        async with session:
            return (await run.generate())[0]

    async def untimed(problem: Problem, run: Run) -> Candidate:
        async with run.session(Tally) as env:
            await env.step(1, timeout_s="x")  # type: ignore[arg-type]
        return (await run.generate())[0]

    assert "was opened before" in error_in(twice)
    assert "timeout_s must be a number" in error_in(untimed)


def test_a_resumed_run_whose_environment_has_changed_stops_and_decides_nothing(tmp_path: Path) -> None:
    world = tmp_path / "world.py"
    world.write_text(WORLD)

    async def goes(problem: Problem, run: Run) -> Candidate:
        async with run.session(f"{world}:World") as env:
            await env.step("a")
            await env.step("b")
        return run.propose("Answer: 5")

    def scheduler(history: History | None = None) -> Scheduler:
        planned = [Planned("cell", PROBLEM, StrategySpec("goes"), Limits(), 0)]
        return Scheduler(planned, lambda text: goes, costs=CostModel(), history=history)

    synthetic = SyntheticWorld(lambda prompt: 1.0, lambda prompt: "5")
    kept = Kept()
    SimulatedCluster(synthetic).run(scheduler(), kept)
    before = [r for r in kept.records if not isinstance(r, Decided | Cancelled)]
    last = max(i for i, r in enumerate(before) if isinstance(r, Returned))
    world.write_text(WORLD.replace("+= 1", "+= 2"))
    with pytest.raises(SessionDiverged):
        SimulatedCluster(synthetic).run(scheduler(History(before[:last])), again := Kept())
    assert not any(isinstance(record, Decided) for record in again.records)
    world.write_text(WORLD)
    results: list[Any] = []
    SimulatedCluster(synthetic).run(scheduler(History(before[:last])), on_result=lambda r, _: results.append(r))
    assert results[0].answer == "5" and results[0].bill.total.steps == 2
