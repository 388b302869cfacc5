"""The rehearsal before the first request: it ends by itself, at a signal, and holds nobody up."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import tts
from tts import Candidate, Completion, Problem, Run, Usage
from tts.api import preflight
from tts.core.actions import Request
from tts.core.trials import trial
from tts.errors import BudgetTooSmall, Interrupted, InvalidParameter, UnknownName


async def model(request: Any) -> Completion:
    return Completion("The answer is 7", usage=Usage(5, 5))


def rehearsing(run: Run) -> bool:
    return not any(c.completion.text == "The answer is 7" for c in run.candidates)


@pytest.mark.parametrize("free", ["call", "sleep", "verify"])
def test_a_strategy_that_awaits_for_ever_what_costs_nothing_is_rehearsed_to_a_bound(
    free: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "MOST_EVENTS", 20)
    monkeypatch.setattr(preflight, "MOST_S", 500.0)  # or a busy machine would come to that bound first
    rehearsed: list[int] = []

    async def loops(problem: Problem, run: Run, *, verifier: str = "constraint") -> Candidate:
        found = await run.generate()
        while rehearsing(run):
            rehearsed.append(1)
            try:
                if free == "call":
                    await run.call("tts.answers.symbolic:classes", ["1"])
                elif free == "sleep":
                    await run.sleep(0)
                else:
                    await run.verify(found, verifier)
            except Exception:
                pass
        return found[0]

    assert tts.solve("3 + 4?", loops, model=model).answer == "7"
    assert 10 < len(rehearsed) < 30


def test_functions_that_wait_are_rehearsed_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "MOST_S", 0.0)

    async def waits(problem: Problem, run: Run) -> Candidate:
        found = await run.generate()
        while rehearsing(run):
            await run.sleep(1)
            waited.append(1)
        return found[0]

    waited: list[int] = []
    assert tts.solve("3 + 4?", waits, model=model).answer == "7"
    assert not waited


async def too_tight(problem: Problem, run: Run) -> Candidate:
    return await run.solve("majority_vote:n=2", limits="tokens=3")


async def tight_at_last(problem: Problem, run: Run) -> Candidate:
    await run.generate()
    return await run.solve("majority_vote:n=2", limits="tokens=3")


async def reads_what_nobody_added(problem: Problem, run: Run) -> Candidate:
    return (await run.generate(temperature=(await run.recall("best"))["heat"]))[0]


@pytest.mark.parametrize(
    ("strategy", "error", "message"),
    [
        ("majority_vote:n=0", InvalidParameter, "majority_vote: n must be at least 1"),
        ("budget_forcing:answer=0", InvalidParameter, "budget_forcing: answer must be at least 1"),
        ("particle_filter:selector=best", UnknownName, "particle_filter: unknown selector 'best'"),
        (too_tight, BudgetTooSmall, "its part majority_vote:n=2: the budget of tokens=3 .* or lower max_tokens"),
        (reads_what_nobody_added, UnknownName, r"no trial has added to 'heat' of 'best' so far \(it is empty\)"),
    ],
)
def test_a_mistake_is_found_before_a_request_leaves(strategy: Any, error: Any, message: str) -> None:
    asked: list[Any] = []

    async def counted(request: Any) -> Completion:
        asked.append(request)
        return await model(request)

    with pytest.raises(error, match=message):
        tts.solve("3 + 4?", strategy, model=counted)
    assert not asked


def test_a_part_that_holds_nothing_ends_no_strategy_that_has_an_answer() -> None:
    solved = tts.solve("3 + 4?", tight_at_last, model=model)
    assert solved.answer == "7"


class Mute:
    """Asks with a request that has no messages."""

    def request(self, problem: Problem, candidate: Candidate) -> Any:
        return Request(())

    def read(self, completion: Completion) -> float:
        return 1.0


class Awaits:
    async def score(self, problem: Problem, candidate: Candidate) -> float:
        return 1.0


async def empty(problem: Problem, run: Run) -> Candidate:
    return (await run.generate([]))[0]


def test_a_prompt_without_messages_and_a_verifier_with_await_are_refused_by_name() -> None:
    with pytest.raises(InvalidParameter, match="messages of a prompt must be at least one"):
        tts.solve("3 + 4?", empty, model=model)
    with pytest.raises(InvalidParameter, match=r"score of the verifier .*Awaits must be a function without await"):
        tts.solve("3 + 4?", "best_of_n:n=2", params={"verifier": Awaits}, model=model)
    solved = tts.solve("3 + 4?", "best_of_n:n=2", params={"verifier": Mute}, model=model)
    assert solved.error is not None and "Mute returned a Request without messages" in solved.error.message


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell's background job ignores SIGINT; these tests send it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("call", ["tts.answers.symbolic:classes", "time:sleep"])
def test_one_signal_ends_a_rehearsal(call: str) -> None:
    """Between two events, and while a function waits in its worker."""

    async def loops(problem: Problem, run: Run) -> Candidate:
        await run.generate()
        if call == "time:sleep":
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            await run.call(call, 600, timeout_s=600.0)
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            await run.call(call, ["1"])
            gone_on.append(1)

    gone_on: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        tts.solve("3 + 4?", loops, model=model)
    assert not gone_on


def test_other_calls_of_a_client_go_on_during_a_rehearsal_and_each_strategy_has_one() -> None:
    begun, other_has_ended = threading.Event(), threading.Event()
    rehearsed: list[bool] = []

    async def waits(problem: Problem, run: Run) -> Candidate:
        found = await run.generate()
        if rehearsing(run):
            begun.set()
            rehearsed.append(other_has_ended.wait(60.0))
        return found[0]

    async def service() -> None:
        async with tts.Client(model=model) as client:
            calls = [asyncio.create_task(client.solve("3 + 4?", waits)) for _ in range(3)]
            assert await asyncio.to_thread(begun.wait, 60.0)
            assert (await client.solve("3 + 4?", "single")).answer == "7"
            other_has_ended.set()
            assert [(await call).answer for call in calls] == ["7"] * 3

    asyncio.run(service())
    assert rehearsed == [True]


@pytest.mark.parametrize("ending", ["cancelled", "closed"])
def test_a_call_that_ends_during_its_rehearsal_leaves_no_trial_behind(ending: str) -> None:
    begun, closed = threading.Event(), threading.Event()

    async def waits(problem: Problem, run: Run) -> Candidate:
        found = await run.generate()
        begun.set()
        while ending == "cancelled" and rehearsing(run):
            await run.sleep(1)
        closed.wait(60.0)
        return found[0]

    async def service() -> None:
        async with tts.Client(model=model) as client:
            call = asyncio.create_task(client.solve("3 + 4?", waits))
            assert await asyncio.to_thread(begun.wait, 60.0)
            if ending == "cancelled":
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
        closed.set()
        if ending == "closed":
            with pytest.raises(Interrupted, match="the client was closed"):
                await call

    asyncio.run(service())


def test_a_live_strategy_that_awaits_for_ever_what_costs_nothing_has_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST_FREE_AWAITS", 20)

    async def loops(problem: Problem, run: Run) -> Candidate:
        await run.generate()
        while True:
            await run.sleep(0)

    solved = tts.solve("3 + 4?", loops, model=model)
    assert solved.error is not None and "awaited 20 times in a row what asks no model" in solved.error.message
    assert solved.cost.samples == 1
