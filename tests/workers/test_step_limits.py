"""Endless work can be ended: by its own limit, by Ctrl-C, and never by the end of the run."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tts
from tts import Candidate, Problem, Run
from tts.clusters.executor import contained
from tts.clusters.virtual.simulated import SimulatedCluster, SyntheticWorld
from tts.core.allocation.allocator import Allocator, Bid
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.core.trials import trial
from tts.core.trials.coroutines import ForeignCode, StepStopped, StepTimedOut
from tts.errors import CallFailed, CallTimedOut
from tts.models.cost_model import CostModel
from tts.process.interrupts import like_ctrl_c
from tts.testing.engine import FakeEngine
from tts.types import Score, StrategySpec
from tts.verifiers.rules.constraint import Constraint
from tts.workers import step_limits

WORLD = SyntheticWorld(lambda prompt: 1.0, lambda prompt: "7")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_limits, "STEP_LIMIT_S", 0.1)
    monkeypatch.setattr(step_limits, "_TICK_S", 0.05)
    monkeypatch.setattr(step_limits, "GRACE_S", 0.1)


def spin() -> None:
    while True:
        pass


def results_of(strategy: Any, count: int = 2) -> dict[str, Result]:
    """What came of a strategy on problems p0, p1, ..., in virtual time."""
    plan = [Planned("cell", Problem(f"p{i}", f"?{i}"), StrategySpec("mine")) for i in range(count)]
    found: dict[str, Result] = {}
    scheduler = Scheduler(plan, lambda _: strategy, costs=CostModel(), verifiers={"mine": Constraint()})
    SimulatedCluster(WORLD).run(scheduler, on_result=lambda result, _: found.update({result.problem_id: result}))
    return found


ENDINGS = [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), BaseException("odd")]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("where", ["strategy", "chain", "fallback", "cleanup"])
def test_what_ends_a_program_ends_one_trial_only(ending: BaseException, where: str) -> None:
    def ends(*args: Any) -> Any:
        raise ending

    async def chain(run: Run) -> Candidate:
        try:
            (candidate,) = await run.generate()
            return candidate if where == "cleanup" else ends()
        finally:
            if where == "cleanup":
                ends()

    async def strategy(problem: Problem, run: Run) -> Candidate:
        if problem.id == "p1":
            (candidate,) = await run.generate()
            return candidate
        if where == "fallback":
            run.fallback = ends
            raise tts.BudgetExhausted("enough")
        if where == "strategy":
            await run.generate()
            ends()
        return (await run.gather(chain(run), chain(run)))[0]

    found = results_of(strategy)
    assert found["p1"].error is None and found["p1"].answer == "7"
    error = found["p0"].error
    assert error is not None and error.type == "StrategyCrashed"
    assert type(ending).__name__ in error.message


@pytest.mark.parametrize("where", ["strategy", "fallback"])
@pytest.mark.usefixtures("short")
def test_a_strategy_that_computes_for_ever_is_ended_and_the_others_go_on(where: str) -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        (candidate,) = await run.generate()
        if problem.id == "p0":
            if where == "fallback":
                run.fallback = lambda candidates, scores: spin()  # type: ignore[func-returns-value]
                raise tts.BudgetExhausted("enough")
            with contextlib.suppress(Exception):  # which cannot catch it
                spin()
        return candidate

    found = results_of(strategy)
    assert found["p0"].error is not None and found["p0"].error.type == "StrategyTimedOut"
    assert found["p1"].error is None


async def nothing() -> None:
    pass


LOOPS: dict[str, tuple[Callable[[Run], Any], str]] = {
    "no samples": (lambda run: run.generate(n=0), "InvalidParameter"),
    "no arrivals": (lambda run: run.finishing(n=0).__aenter__(), "InvalidParameter"),
    "nothing to verify": (lambda run: run.verify([], "mine"), "StrategyTimedOut"),
    "no chains": (lambda run: run.gather(), "StrategyTimedOut"),
    "an empty chain": (lambda run: run.gather(nothing()), "StrategyCrashed"),
}


# Raised in a callback of the garbage collector (hypothesis has one) it is dropped by Python, and raised again.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.usefixtures("short")
def test_a_strategy_that_asks_for_nothing_for_ever_is_ended_and_the_others_go_on(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "MOST_STEPS", 1000)
    ask, kind = LOOPS[loop]

    async def strategy(problem: Problem, run: Run) -> Candidate:
        (candidate,) = await run.generate()
        while problem.id == "p0":
            await ask(run)
        return candidate

    found = results_of(strategy)
    assert found["p0"].error is not None and found["p0"].error.type == kind, found["p0"].error
    assert found["p1"].error is None


@pytest.mark.usefixtures("short")
def test_a_strategy_in_another_thread_is_ended_too() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        (candidate,) = await run.generate()
        if problem.id == "p0":
            spin()
        return candidate

    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(results_of(strategy)))
    thread.start()
    thread.join()
    assert found[0]["p0"].error.type == "StrategyTimedOut" and found[0]["p1"].error is None


@pytest.mark.usefixtures("short")
def test_an_allocator_that_computes_for_ever_stops_the_run_in_its_own_name() -> None:
    from tts.core.allocation.shared_budget import SharedBudget
    from tts.core.budget import Limits
    from tts.errors import AllocatorCrashed

    def bid(standing: Any, outlook: Any) -> Bid:
        spin()
        raise AssertionError

    async def strategy(problem: Problem, run: Run, *, n: int | None = None) -> Candidate:
        return (await run.generate(n=4))[0]

    shared = SharedBudget("cell", Allocator(bid), Limits(samples=20), CostModel())
    plan = [Planned("cell", Problem("p", "?"), StrategySpec("mine"))]
    scheduler = Scheduler(plan, lambda _: strategy, costs=CostModel(), shared_budgets={"cell": shared})
    with pytest.raises(AllocatorCrashed, match="of CPU time for problem p, and was ended"):
        SimulatedCluster(WORLD).run(scheduler)


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda e: type(e).__name__)
def test_what_ends_a_program_is_a_verifiers_own_failure(ending: BaseException) -> None:
    def score() -> Score:
        raise ending

    foreign = ForeignCode()
    with step_limits.watched(foreign), pytest.raises(CallFailed, match=type(ending).__name__):
        contained(foreign, "s/1", score)


@pytest.mark.usefixtures("short")
def test_a_verifier_in_this_process_that_computes_for_ever_is_ended() -> None:
    foreign = ForeignCode()
    with step_limits.watched(foreign), pytest.raises(CallTimedOut, match="in this process"):
        contained(foreign, "s/1", spin)  # type: ignore[arg-type]


def raised_in(code: Callable[[], object], *signals: int) -> type[BaseException]:
    """What ends the code, when these signals come while it runs."""
    foreign = ForeignCode()

    def send() -> None:
        for number in signals:
            time.sleep(0.2)
            os.kill(os.getpid(), number)

    with step_limits.watched(foreign):
        sender = threading.Thread(target=send)
        sender.start()
        try:
            foreign.run("s", code)
        except BaseException as error:
            return type(error)
        finally:
            sender.join()
    raise AssertionError


@pytest.mark.usefixtures("short")
def test_an_interrupt_ends_what_computes_and_what_sleeps_and_is_not_the_codes_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(step_limits, "STEP_LIMIT_S", 60.0)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGURG)
    assert raised_in(spin, signal.SIGINT) is StepStopped
    quiet = signal.signal(signal.SIGINT, lambda number, frame: None)  # of an event loop, which only wakes up
    try:
        assert raised_in(spin, signal.SIGINT) is StepStopped
        assert raised_in(lambda: time.sleep(600), signal.SIGINT) is StepStopped
    finally:
        signal.signal(signal.SIGINT, quiet)
    monkeypatch.setattr(step_limits, "STEP_LIMIT_S", 0.1)
    assert raised_in(spin) is StepTimedOut
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGURG)) == before


def test_an_interrupt_ends_what_computes_inside_a_notebooks_running_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_limits, "STEP_LIMIT_S", 5.0)
    monkeypatch.setattr(step_limits, "_TICK_S", 0.05)
    monkeypatch.setattr(step_limits, "GRACE_S", 0.1)
    endings: list[type[BaseException]] = []

    async def computes(problem: Problem, run: Run) -> Candidate:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            spin()
        except BaseException as ending:
            endings.append(type(ending))
            raise
        raise AssertionError

    async def cell() -> None:
        tts.solve("1 + 1?", computes, base_url=engine.base_url)

    loop = asyncio.new_event_loop()  # `asyncio.run` would take the signal for itself
    with FakeEngine() as engine, pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(cell())
    loop.close()
    assert endings == [StepStopped]


def test_an_interrupt_between_steps_is_python_s_own() -> None:
    with step_limits.watched(ForeignCode()), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


STUBBORN = """
import os
async def stubborn(problem, run):
    (candidate,) = await run.generate()
    while problem.id == "sum-1" and os.path.exists("blocks"):
        try:
            while True:
                pass
        except BaseException:
            pass
    return candidate
"""


@pytest.mark.system
@pytest.mark.parametrize("strategy", ["stubborn", "spins"])
def test_ctrl_c_ends_a_sweep_that_a_strategy_blocks_and_a_repeated_command_completes_it(
    tmp_path: Path, strategy: str
) -> None:
    milder = STUBBORN.replace("stubborn", "spins").replace("except BaseException", "except KeyError")
    (tmp_path / "mine.py").write_text(STUBBORN + milder)
    (tmp_path / "blocks").touch()
    journal = tmp_path / "run" / "journal.jsonl"
    with FakeEngine() as engine:
        command = [sys.executable, "-m", "tts", "sweep", "arithmetic?size=3", "-s", f"mine.py:{strategy}"]
        command += ["-o", "run", "--no-report", "--base-url", engine.base_url, "-c", "1"]
        running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not (journal.exists() and "sum-1/1" in journal.read_text()):
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        while strategy == "stubborn" and running.poll() is None:  # which takes three during one step
            running.send_signal(signal.SIGINT)
            time.sleep(1.2)
        assert running.wait() == 130
        decided = [line for line in journal.read_text().splitlines() if '"decided"' in line]
        assert not any("sum-1" in line for line in decided)
        (tmp_path / "blocks").unlink()
        again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    decided = [line for line in journal.read_text().splitlines() if '"decided"' in line]
    assert len(decided) == 3 and not any('"error"' in line for line in decided)


def test_a_call_in_a_simulation_is_killed_at_its_limit() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        (candidate,) = await run.generate()
        function, args, error = {
            "p0": ("os:_exit", (3,), tts.errors.CallCrashed),
            "p1": ("builtins:eval", ("[0 for i in iter(int, 1)]",), CallTimedOut),
        }[problem.id]
        with pytest.raises(error):
            await run.call(function, *args, timeout_s=0.1)
        return candidate

    assert [result.error for result in results_of(strategy).values()] == [None, None]


def test_a_sigterm_that_is_mindedlike_ctrl_c_is_one_signal_and_not_two() -> None:
    heard: list[int] = []
    code = ForeignCode()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    signal.signal(signal.SIGTERM, like_ctrl_c)
    try:
        with step_limits.watched(code):
            code.run("a step", signal.raise_signal, signal.SIGTERM)
            code.run("the next", lambda: None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert heard == [signal.SIGINT]
