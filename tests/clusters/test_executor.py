"""Whatever happens to an action, exactly one event ends it; when the executor stops, nothing of it is left."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tts
from tts.clusters.executor import Executor
from tts.clusters.local import LocalCluster
from tts.core.actions import (
    Call,
    Cancelled,
    End,
    Event,
    Failed,
    Finished,
    Generate,
    Progressed,
    Request,
    Returned,
    Scored,
    Sleep,
    Verify,
    Woke,
    Work,
)
from tts.core.journal.records import Decided, Record, encode
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.core.trials.context import Run
from tts.errors import InvalidParameter, Overloaded, TTSError
from tts.models.cost_model import CostModel
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.plugins.names import strategy
from tts.runs.folder import NoJournal
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.types import Candidate, Completion, Message, Problem, Sampling, Score, ScoreKind, StrategySpec, Usage
from tts.workers.killable_processes import Workers

PROBLEM = Problem("p0", "What is 2 + 3?")
ASK = Request((Message("user", "What is 2 + 3?"),), Sampling(max_tokens=64))
CANDIDATE = Candidate("c0/p0/0", "five", "5", Completion("five"))


class Model:
    """Answers after a while, in turns of the event loop; 0 is at once."""

    def __init__(self, turns: int = 0, error: BaseException | None = None, last_words: int = 0) -> None:
        self.turns, self.error, self.last_words = turns, error, last_words
        self.asked: list[Request] = []
        self.under_way = 0

    async def complete(
        self, request: Request, builder: CompletionBuilder, on_progress: Any = None, *, race: bool = False
    ) -> Completion:
        self.asked.append(request)
        self.under_way += 1
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            if self.error is not None:
                raise self.error
            return Completion("It is five.", usage=Usage(7, 3))
        finally:
            try:
                for _ in range(self.last_words):
                    await asyncio.sleep(0)
            finally:
                self.under_way -= 1


class Checker:
    """Computes; its script is called with the candidate."""

    kind: ScoreKind = "probability"
    candidate_logprobs = 0
    in_worker = False

    def __init__(self, script: Callable[[Any], Score]) -> None:
        self.script = script

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return None

    def read(self, completion: Completion) -> Score:
        return self.script(completion)

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        return self.script(candidate)


class InWorker(Checker):
    in_worker = True


def fine(_: Any) -> Score:
    return Score(1.0, "checker")


def broken(_: Any) -> Score:
    raise ZeroDivisionError("the checker is broken")


VERIFIERS = {"fine": Checker(fine), "broken": Checker(broken), "far": InWorker(fine)}


def one_of_each() -> list[Work]:
    return [
        Generate("c0/p0/1", ASK),
        Verify("c0/p0/2", "fine", PROBLEM, CANDIDATE, ASK),
        Verify("c0/p0/3", "fine", PROBLEM, CANDIDATE),
        Verify("c0/p0/4", "far", PROBLEM, CANDIDATE),
        Call("c0/p0/5", "operator:add", (2, 3), 60.0),
        Sleep("c0/p0/6", 1e6),
    ]


def carried_out(
    script: Callable[[Executor, list[Event]], Coroutine[Any, Any, Any]],
    models: Mapping[str, Any] | None = None,
    now: Callable[[], float] = lambda: 0.0,
    workers: Workers | None = None,
) -> list[Event]:
    """What an executor told during the script, and until it was closed; no task may outlive it."""
    told: list[Event] = []

    async def main() -> None:
        executor = Executor(models or {"m": Model()}, VERIFIERS, workers, told.append, now)
        try:
            await script(executor, told)
        finally:
            await executor.aclose()
        assert len(executor) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    return told


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # of any kind
            await asyncio.sleep(0.001)


def ends(told: list[Event]) -> list[Any]:
    return [event for event in told if not isinstance(event, Progressed)]


# --- one end for each


def test_every_kind_of_action_ends_with_its_own_kind_of_event() -> None:
    async def script(executor: Executor, told: list[Event]) -> None:
        for action in one_of_each()[:-1]:
            executor.start(action)
        executor.start(Sleep("c0/p0/6", 1.0))
        await until(lambda: len(executor) == 0)

    told = {event.id: event for event in carried_out(script, now=lambda: 2.0)}
    kinds = [type(told[action.id]) for action in one_of_each()]
    assert kinds == [Finished, Scored, Scored, Failed, Returned, Woke]
    assert isinstance(told["c0/p0/1"], Finished) and told["c0/p0/1"].completion.text == "It is five."
    assert isinstance(told["c0/p0/2"], Scored) and told["c0/p0/2"].usage == Usage(7, 3)
    assert isinstance(told["c0/p0/5"], Returned) and told["c0/p0/5"].value == 5
    # The class is made anew in the worker, and this one wants an argument.
    assert isinstance(told["c0/p0/4"], Failed) and "must have a default" in told["c0/p0/4"].error.message
    assert {event.at_s for event in told.values()} == {2.0}


@pytest.mark.parametrize("action", one_of_each(), ids=lambda action: type(action).__name__ + action.id[-1])
def test_an_action_that_is_cancelled_before_its_first_step_ends_once_as_cancelled(action: Work) -> None:
    model = Model()

    async def script(executor: Executor, told: list[Event]) -> None:
        executor.start(action)
        assert action.id in executor and len(executor) == 1
        executor.cancel(action.id)
        executor.cancel(action.id)
        assert told == [], "its end comes from the event loop, as every other"
        await until(lambda: len(executor) == 0)
        assert action.id not in executor
        executor.cancel(action.id)
        await asyncio.sleep(0.01)

    assert carried_out(script, {"m": model}, now=lambda: 4.0) == [Cancelled(action.id, 4.0)]
    assert model.asked == []


@pytest.mark.parametrize("action", one_of_each(), ids=lambda action: type(action).__name__ + action.id[-1])
def test_stopping_at_once_ends_each_action_once_and_leaves_no_task(action: Work) -> None:
    async def script(executor: Executor, told: list[Event]) -> None:
        executor.start(action)
        await executor.stop()
        assert len(executor) == 0
        assert [type(event) for event in told] == [Cancelled]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await executor.stop()

    assert len(carried_out(script)) == 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["quick", "slow", "failing", "verify", "broken", "sleep"]),
            st.integers(0, 6),  # turns of the loop until the next
            st.none() | st.integers(0, 12),  # turns until it is cancelled
        ),
        min_size=1,
        max_size=25,
    ),
    st.booleans(),
)
def test_in_any_storm_of_starts_and_cancellations_each_action_ends_exactly_once(
    storm: list[tuple[str, int, int | None]], stopped: bool
) -> None:
    models = {"quick": Model(), "slow": Model(turns=5, last_words=3), "failing": Model(2, Overloaded("busy"))}
    asked: dict[str, str] = {}

    def made(id: str, kind: str) -> Work:
        if kind == "sleep":
            return Sleep(id, 1e6 if stopped else -1.0)
        if kind in ("verify", "broken"):
            return Verify(id, "fine" if kind == "verify" else "broken", PROBLEM, CANDIDATE)
        return Generate(id, Request(ASK.messages, model=kind))

    async def script(executor: Executor, told: list[Event]) -> None:
        to_cancel: list[tuple[int, str]] = []
        turn = 0
        for number, (kind, wait, cancelled_after) in enumerate(storm):
            id = f"c0/p0/{number}"
            asked[id] = kind
            executor.start(made(id, kind))
            if cancelled_after is not None:
                to_cancel.append((turn + cancelled_after, id))
            for _ in range(wait + 1):
                for when, other in to_cancel:
                    if when == turn:
                        executor.cancel(other)
                await asyncio.sleep(0)
                turn += 1
        if stopped:
            await executor.stop()
        else:
            await until(lambda: len(executor) == 0)

    told = carried_out(script, models)
    assert Counter(event.id for event in told) == dict.fromkeys(asked, 1)
    allowed: dict[str, set[type[End]]] = {
        "quick": {Finished},
        "slow": {Finished},
        "failing": {Failed},
        "verify": {Scored},
        "broken": {Failed},
        "sleep": {Woke},
    }
    for event in told:
        assert type(event) in allowed[asked[event.id]] | {Cancelled}
    assert [model.under_way for model in models.values()] == [0, 0, 0]


# --- stopping


def test_an_engine_hears_of_a_cancellation_before_the_loop_does_anything_else() -> None:
    told: list[Event] = []

    async def main() -> None:
        async with OpenAIClient(engine.base_url, model="fake", cancellation="close") as client:
            executor = Executor({"m": client}, {}, None, told.append, lambda: 0.0)
            executor.start(Generate("c0/p0/0", ASK))
            engine.allow(3)
            await until(lambda: not executor.is_silent("c0/p0/0"))
            executor.cancel("c0/p0/0")
            assert engine.wait_idle(10)
            await until(lambda: len(executor) == 0)

    with FakeEngine(lambda _: Reply(("so ",) * 9), lockstep=True) as engine:
        asyncio.run(main())
        assert isinstance(told[0], Cancelled) and told[0].usage.completion_tokens >= engine.stats().tokens


def test_stopping_waits_until_the_streams_are_closed() -> None:
    model = Model(turns=10**9, last_words=50)

    async def script(executor: Executor, told: list[Event]) -> None:
        for number in range(20):
            executor.start(Generate(f"c0/p0/{number}", ASK))
        await until(lambda: model.under_way == 20)
        await executor.stop()
        assert model.under_way == 0
        assert len(executor) == 0

    told = carried_out(script, {"m": model})
    assert {type(event) for event in told} == {Cancelled} and len(told) == 20


def test_workers_of_its_own_end_with_it_and_those_it_was_given_stay() -> None:
    async def script(executor: Executor, told: list[Event]) -> None:
        executor.start(Call("c0/p0/1", "os:getpid", (), 60.0))
        await until(lambda: len(executor) == 0)

    (own,) = carried_out(script)
    assert isinstance(own, Returned)
    with Workers(1) as workers:
        (first,), (second,) = carried_out(script, workers=workers), carried_out(script, workers=workers)
        assert isinstance(first, Returned) and isinstance(second, Returned)
        assert first.value == second.value == workers.call_sync("os:getpid", timeout_s=60.0)
        assert own.value != first.value


# --- failing


@pytest.mark.parametrize("asks", [True, False])
def test_a_verifier_that_raises_fails_its_action_with_what_it_raised(asks: bool) -> None:
    async def script(executor: Executor, told: list[Event]) -> None:
        executor.start(Verify("c0/p0/1", "broken", PROBLEM, CANDIDATE, ASK if asks else None))
        executor.start(Verify("c0/p0/2", "fine", PROBLEM, CANDIDATE))
        await until(lambda: len(executor) == 0)

    told = {event.id: event for event in carried_out(script)}
    failed = told["c0/p0/1"]
    assert isinstance(failed, Failed)
    assert (failed.error.type, failed.error.message) == ("ZeroDivisionError", "the checker is broken")
    assert isinstance(told["c0/p0/2"], Scored)


def test_what_the_model_had_cost_is_on_the_books_though_its_verdict_could_not_be_read() -> None:
    async def script(executor: Executor, told: list[Event]) -> None:
        executor.start(Verify("c0/p0/1", "broken", PROBLEM, CANDIDATE, ASK))
        await until(lambda: len(executor) == 0)

    with FakeEngine(lambda _: Reply(("It", " is", " five."))) as engine:
        client = OpenAIClient(engine.base_url, model="fake")

        async def and_closed(executor: Executor, told: list[Event]) -> None:
            async with client:
                await script(executor, told)

        (failed,) = carried_out(and_closed, {"m": client})
        tokens = engine.stats().tokens
    assert isinstance(failed, Failed)
    assert failed.usage.completion_tokens == tokens == 3
    assert failed.usage.prompt_tokens > 0


def test_what_an_error_says_of_its_cost_is_what_it_cost() -> None:
    error = Overloaded("busy", usage={"prompt_tokens": 4, "completion_tokens": 2})

    async def script(executor: Executor, told: list[Event]) -> None:
        executor.start(Generate("c0/p0/1", ASK))
        await until(lambda: len(executor) == 0)

    (failed,) = carried_out(script, {"m": Model(error=error)})
    assert isinstance(failed, Failed)
    assert (failed.error.type, failed.usage) == ("Overloaded", Usage(4, 2))


def test_names_that_nothing_carries_fail_their_action_only() -> None:
    async def script(executor: Executor, told: list[Event]) -> None:
        executor.start(Generate("c0/p0/1", Request(ASK.messages, model="large")))
        executor.start(Verify("c0/p0/2", "nobody", PROBLEM, CANDIDATE))
        executor.start(Generate("c0/p0/3", Request(ASK.messages, model="small")))
        executor.start(Generate("c0/p0/4", ASK))
        await until(lambda: len(executor) == 0)

    first, small = Model(), Model()
    told = {event.id: event for event in carried_out(script, {"first": first, "small": small})}
    unknown, nobody = told["c0/p0/1"], told["c0/p0/2"]
    assert isinstance(unknown, Failed) and unknown.error.type == "UnknownName"
    assert unknown.error.message.startswith("unknown model 'large'.")
    assert isinstance(nobody, Failed) and "nobody" in nobody.error.message
    # Our name for a model chooses the client, and stays here; without one it is the first.
    assert [request.model for request in small.asked] == [None]
    assert first.asked == [ASK]


# --- what has come by then


def test_a_cancelled_stream_ends_with_the_text_and_the_tokens_that_had_come() -> None:
    async def script(executor: Executor, told: list[Event]) -> None:
        executor.start(Generate("c0/p0/1", Request(ASK.messages, ASK.sampling, progress=True, every=1)))
        await until(lambda: len(told) >= 3)
        executor.cancel("c0/p0/1")
        await until(lambda: len(executor) == 0)

    with FakeEngine(lambda _: Reply(("x",) * 1000, per_token_s=0.005)) as engine:
        client = OpenAIClient(engine.base_url, model="fake")

        async def and_closed(executor: Executor, told: list[Event]) -> None:
            async with client:
                await script(executor, told)

        told = carried_out(and_closed, {"m": client})
        assert engine.wait_idle()
        assert engine.stats().left == 1
    *pieces, end = told
    assert isinstance(end, Cancelled)
    text = ""
    for piece in pieces:
        assert isinstance(piece, Progressed)
        text = text[: piece.offset] + piece.text
        assert piece.tokens == len(text)
    assert end.completion.finish_reason == "cancelled"
    assert end.completion.text.startswith(text)
    assert len(text) <= len(end.completion.text) <= end.usage.completion_tokens <= len(end.completion.text) + 2
    assert 3 <= len(text) < 1000


def test_a_sleep_ends_when_the_clock_has_come_so_far_and_at_once_if_it_had_before() -> None:
    async def script(executor: Executor, told: list[Event]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        executor._now = lambda: loop.time() - began
        executor.start(Sleep("c0/p0/1", 0.2))
        executor.start(Sleep("c0/p0/2", -5.0))
        executor.start(Sleep("c0/p0/3", 1e6))
        await until(lambda: len(executor) == 1)

    told = carried_out(script)
    assert [(type(event), event.id) for event in told] == [
        (Woke, "c0/p0/2"),
        (Woke, "c0/p0/1"),
        (Cancelled, "c0/p0/3"),
    ]
    woke = told[1]
    assert isinstance(woke, Woke) and woke.at_s >= 0.19


def test_who_has_had_no_token_is_silent_until_one_comes() -> None:
    async def script(executor: Executor, told: list[Event]) -> None:
        executor.start(Generate("c0/p0/1", Request(ASK.messages, ASK.sampling, progress=True, every=1)))
        executor.start(Sleep("c0/p0/2", 1e6))
        assert executor.is_silent("c0/p0/1") and not executor.is_silent("c0/p0/2")
        await asyncio.sleep(0.01)
        assert executor.silent(0.001) == ["c0/p0/1"]
        assert executor.silent(1e6) == []
        await until(lambda: bool(told))
        assert executor.silent(0.0) == [] and not executor.is_silent("c0/p0/1")

    with FakeEngine(lambda _: Reply(("x",) * 1000, first_byte_s=0.2, per_token_s=0.01)) as engine:
        client = OpenAIClient(engine.base_url, model="fake")

        async def and_closed(executor: Executor, told: list[Event]) -> None:
            async with client:
                await script(executor, told)
                await executor.stop()

        told = carried_out(and_closed, {"m": client})
    assert len(ends(told)) == 2


class Odd:
    """A verifier that raises what it is given."""

    kind: ScoreKind = "scale"
    candidate_logprobs = 0
    in_worker = False

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return None

    def read(self, completion: Completion) -> Score:
        raise self._error

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        raise self._error


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "error",
    [
        TTSError("x", usage=5),
        TTSError("x", usage=None),
        Unprintable(),
        ValueError("\udc80"),
        TTSError("x", path=object()),
        SystemExit(3),
        asyncio.CancelledError(),
    ],
    ids=["a number for usage", "no usage", "unprintable", "half a pair", "an object", "an exit", "a cancellation"],
)
def test_a_verifier_that_raises_anything_ends_as_failed_and_can_be_written_down(error: BaseException) -> None:
    told: list[Event] = []

    async def main() -> None:
        executor = Executor({}, {"odd": Odd(error)}, None, told.append, lambda: 0.0)
        executor.start(Verify("c0/p0/1", "odd", PROBLEM, CANDIDATE))
        await asyncio.sleep(0.01)
        await executor.aclose()

    asyncio.run(main())
    (event,) = told
    assert isinstance(event, Failed)
    assert encode(event)


class Stubborn:
    """Ends just as it is being stopped."""

    async def complete(
        self, request: Request, builder: CompletionBuilder, on_progress: Any = None, *, race: bool = False
    ) -> Completion:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            return Completion("Answer: 4", usage=Usage(1, 1))
        raise AssertionError("it was not stopped")


def test_what_is_decided_while_an_aborted_run_stops_is_handed_on_too() -> None:
    results: list[Result] = []
    written: list[Record] = []

    class Kept(NoJournal):
        def write(self, records: Iterable[Record]) -> None:
            written.extend(records)

    async def main() -> None:
        cluster = LocalCluster({"m": Stubborn()})
        asyncio.get_running_loop().call_later(0.05, cluster.abort)
        scheduler = Scheduler([Planned("c0", PROBLEM, StrategySpec("single"))], strategy, costs=CostModel())
        await cluster.run(scheduler, Kept(), lambda result, _: results.append(result))

    asyncio.run(main())
    assert len([record for record in written if isinstance(record, Decided)]) == len(results) == 1


def test_arguments_that_no_process_can_be_sent_fail_the_call_at_once() -> None:
    async def odd(problem: Problem, run: Run) -> Candidate:
        await run.call("operator:add", object(), 1)
        raise AssertionError("it was called")

    with FakeEngine() as engine, pytest.raises(InvalidParameter, match="must be JSON-like"):
        tts.solve("What is 2 + 3?", odd, base_url=engine.base_url)
    assert engine.stats().requests == 0


# --- slots of the run


def test_a_sample_may_wait_for_a_sibling_only_while_slots_of_the_run_are_to_spare() -> None:
    may_wait: dict[int, list[bool]] = {}

    class Watching(Model):
        async def complete(
            self, request: Request, builder: CompletionBuilder, on_progress: Any = None, *, race: bool = False
        ) -> Completion:
            may_wait[window].append(not race)
            return await super().complete(request, builder, on_progress)

    async def four(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(n=4))[0]

    for window in (3, 4, 5):
        may_wait[window] = []
        scheduler = Scheduler(
            [Planned("c", PROBLEM, StrategySpec("four"))], lambda name: four, costs=CostModel(), window=window
        )
        asyncio.run(LocalCluster({"": Watching(turns=3)}).run(scheduler))
    assert not any(may_wait[3][:3]) and not any(may_wait[4])
    assert all(may_wait[5])
