"""The kernel driven by hand: no event loop, no cluster, one event at a time."""

import ast
import asyncio
import contextlib
import gc
import math
import pickle
import random
import subprocess
import sys
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tts.core.trials.endings
import tts.core.trials.trial
import tts.core.trials.verifying
from tts.core.actions import (
    Action,
    Call,
    Cancel,
    Cancelled,
    End,
    Failed,
    Finished,
    Generate,
    Progressed,
    Refused,
    Request,
    Returned,
    Scored,
    Sleep,
    Verify,
    Woke,
    Work,
)
from tts.core.budget import Limits
from tts.core.protocols import Strategy
from tts.core.result import Shortage
from tts.core.trials.blocks import OPEN_FAILURES, OPEN_WINDOW, Update
from tts.core.trials.context import Run
from tts.core.trials.trial import Trial
from tts.errors import (
    AllFailed,
    BudgetExhausted,
    CallFailed,
    DeadlineExceeded,
    InvalidParameter,
    ServerFailed,
    UnknownCost,
    UnknownName,
)
from tts.models.cost_model import CostModel, ModelCost
from tts.models.prices import Price
from tts.selectors import majority
from tts.types import (
    Candidate,
    Completion,
    Cost,
    ErrorInfo,
    Message,
    Problem,
    Sampling,
    Score,
    ScoreKind,
    StrategySpec,
    Timing,
    Usage,
)

PROBLEM = Problem("p", "What is 3 + 4?")
PRICED = CostModel({"": ModelCost(Price(input=1, output=2)), "nobody's": ModelCost()})
BROKEN = ErrorInfo.of(ServerFailed("it burns", endpoint="e"))


class Judge:
    """Asks a model, at most 20 tokens."""

    kind: ScoreKind = "probability"
    candidate_logprobs = 0
    in_worker = False

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return Request((Message("user", f"Is this right? {candidate.text}"),), Sampling(max_tokens=20))

    def read(self, completion: Completion) -> Score:
        return Score(float(completion.text), "judge")

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        raise NotImplementedError


class Counting(Judge):
    """Computes, and so costs nothing."""

    kind: ScoreKind = "scale"

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return None


def trial_of(
    strategy: Strategy, *, share: Limits = Limits(), seed: int = 0, keyed: bool = True, **params: Any
) -> Trial:
    return Trial(
        "cell/p",
        PROBLEM,
        strategy,
        StrategySpec("tried", params),
        costs=PRICED,
        share=share,
        verifiers={"judge": Judge(), "count": Counting()},
        sampling=Sampling(max_tokens=100),
        seed=seed,
        keyed=keyed,
    )


def done(id: str, at_s: float = 1.0, text: str = "Answer: 7", tokens: int = 10, seconds: float = 1.0) -> Finished:
    return Finished(id, at_s, Completion(text, usage=Usage(5, tokens), timing=Timing(seconds)))


def gone(id: str, at_s: float = 1.0, text: str = "", tokens: int = 0) -> Cancelled:
    return Cancelled(id, at_s, Completion(text, "cancelled", Usage(5, tokens)))


def failed(id: str, at_s: float = 1.0, tokens: int = 0) -> Failed:
    return Failed(id, at_s, BROKEN, Usage(5, tokens))


def scored(id: str, value: float | None, at_s: float = 2.0, tokens: int = 4, by: str = "judge") -> Scored:
    return Scored(id, at_s, Score(value, by), Usage(5, tokens), Timing(0.5))


def ids(actions: list[Action], kind: type = Generate) -> list[str]:
    return [action.id for action in actions if isinstance(action, kind)]


async def answers(run: Run, n: int | None = 1) -> list[Candidate]:
    return await run.generate(n=n)


# --- generate


def test_generate_waits_for_all_and_returns_them_in_the_order_of_asking() -> None:
    seen: list[str] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=3)
        seen.extend(c.id for c in found)
        return found[-1]

    trial = trial_of(strategy)
    first, second, third = ids(trial.start())
    assert trial.tell(done(third)) == trial.tell(done(first)) == []
    assert not trial.done
    assert trial.tell(done(second, text="Answer: 9")) == []
    assert trial.done and trial.closed
    assert seen == [first, second, third]
    assert trial.result.answer == "7"
    assert [c.id for c in trial.result.candidates] == [third, first, second]


def test_seeds_are_distinct_in_one_trial_and_the_same_in_every_process() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing(n=60) as race:
            found = await run.generate(n=100)
            await run.gather(*(run.generate() for _ in range(40)), *(run.generate("other") for _ in range(40)))
            await run.verify(found[:20], "judge", repeats=3)
            return await anext(race)

    def seeds(seed: int) -> list[int]:
        trial = trial_of(strategy, seed=seed)
        found: list[int] = []
        asked = trial.start()
        while asked and not trial.done:
            requests = [a.request for a in asked if isinstance(a, Generate | Verify)]
            found += [r.seed for r in requests if r is not None]
            told = [a for a in asked if not (isinstance(a, Generate) and a.share is None and "other" not in str(a))]
            asked = [b for a in told for b in trial.tell(scored(a.id, 0.5) if isinstance(a, Verify) else done(a.id))]
        return found

    assert len(seeds(0)) == 60 + 100 + 80 + 60
    assert len(set(seeds(0))) == len(seeds(0))
    assert seeds(0) == seeds(0)
    assert not set(seeds(0)) & set(seeds(1))


def test_without_keys_a_trial_asks_for_the_same_but_for_keys_and_seeds() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing(n=2) as race:
            await run.verify(await run.generate(n=2), "judge")
            return await anext(race)

    def asked(keyed: bool) -> list[Action]:
        trial = trial_of(strategy, keyed=keyed)
        started = trial.start()
        return started + [b for a in started if a.id in ("cell/p/3", "cell/p/4") for b in trial.tell(done(a.id))]

    def bare(action: Action) -> Action:
        assert isinstance(action, Generate | Verify) and action.request is not None
        return msgspec.structs.replace(action, request=msgspec.structs.replace(action.request, seed=0), share=None)

    assert len(asked(True)) == 6 and len({a.share for a in asked(True) if isinstance(a, Generate | Verify)}) == 5
    assert asked(False) == [bare(action) for action in asked(True)]


def test_what_generate_asks_for_may_be_shared_and_what_a_race_asks_for_never() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing(n=2), run.streaming(n=1):
            return (await run.generate(n=2))[0]

    asked = [a for a in trial_of(strategy).start() if isinstance(a, Generate)]
    assert [a.share is None for a in asked] == [True, True, True, False, False]
    again = [a for a in trial_of(strategy).start() if isinstance(a, Generate)]
    assert [a.share for a in again] == [a.share for a in asked]
    assert asked[3].share != asked[4].share
    other = [a for a in trial_of(strategy, seed=1).start() if isinstance(a, Generate)]
    assert not {a.share for a in other[3:]} & {a.share for a in asked}


def test_a_continuation_sends_the_text_so_far_and_the_candidate_holds_the_whole() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        (start,) = await run.generate(max_tokens=7)
        (end,) = await run.generate(continue_from=start, temperature=0.0)
        return end

    trial = trial_of(strategy)
    (first,) = trial.start()
    assert isinstance(first, Generate) and first.request.sampling.max_tokens == 7
    (second,) = trial.tell(done(first.id, text="Answer: 1"))
    assert isinstance(second, Generate)
    assert second.request.continue_from == "Answer: 1"
    assert second.request.sampling == Sampling(temperature=0.0, max_tokens=100)
    trial.tell(done(second.id, text="2"))
    selected = trial.result.selected
    assert selected is not None
    assert (selected.text, selected.answer, selected.parent) == ("Answer: 12", "12", first.id)


def test_an_unknown_sampling_parameter_is_named() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(temprature=1.0))[0]

    trial = trial_of(strategy)
    assert trial.start() == []
    error = trial.result.error
    assert error is not None and error.type == "UnknownName"
    assert "unknown sampling parameter 'temprature'. Did you mean 'temperature'?" in error.message


@pytest.mark.parametrize("n", [0, -3])
def test_a_count_below_one_is_refused(n: int) -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(n=n))[0]

    trial = trial_of(strategy)
    assert trial.start() == []
    assert trial.result.error == ErrorInfo.of(InvalidParameter(f"n must be at least 1, but got {n}", name="n", value=n))


@pytest.mark.parametrize("n", ["2", 1.5, 4.0, [1]])
def test_a_count_that_is_no_whole_number_is_refused_where_it_is_given(n: Any) -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(n=n))[0]

    trial = trial_of(strategy)
    assert trial.start() == []
    error = trial.result.error
    assert error is not None
    assert (error.type, error.message) == ("InvalidParameter", f"n must be a whole number, but got {n!r}")


def test_a_prompt_that_is_neither_text_nor_messages_is_refused_where_it_is_given() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(5))[0]  # type: ignore[arg-type]

    trial = trial_of(strategy)
    assert trial.start() == []
    error = trial.result.error
    assert error is not None and error.type == "InvalidParameter"
    assert error.message == "a prompt must be text, or messages with role and content, but got 5"


def test_samples_that_failed_are_left_out_and_named_in_the_result() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=3)
        assert len(found) == 2
        return found[0]

    trial = trial_of(strategy)
    a, b, c = ids(trial.start())
    trial.tell(done(a))
    trial.tell(failed(b, tokens=6))
    trial.tell(done(c))
    result = trial.result
    assert result.error is None
    assert result.failures == (BROKEN,)
    assert result.bill.failed == Cost(1, 6, 5 + 12, None)
    assert result.bill.answers.tokens == 20


def test_if_every_sample_failed_the_error_holds_the_last_ones() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(n=2))[0]

    trial = trial_of(strategy)
    for id in ids(trial.start()):
        trial.tell(failed(id))
    error = trial.result.error
    assert error is not None and error.type == "AllFailed"
    assert error.message == "cell/p: all 2 samples failed; the last one with ServerFailed: it burns"
    assert error.facts["asked"] == 2 and error.facts["cause"]["type"] == "ServerFailed"


# --- finishing and streaming


async def race(problem: Problem, run: Run, *, n: int = 4) -> Candidate:
    async with run.finishing(n=n) as finishing:
        return await anext(finishing)


def test_leaving_a_block_cancels_exactly_what_has_not_ended() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing(n=4) as finishing:
            await anext(finishing)
            return await anext(finishing)

    trial = trial_of(strategy)
    a, b, c, d = ids(trial.start())
    assert trial.tell(done(c)) == []
    assert trial.tell(done(a, text="Answer: 9")) == [Cancel(b), Cancel(d)]
    assert trial.done and not trial.closed
    assert trial.waiting_for == [b, d]
    assert trial.tell(gone(d, tokens=33)) == []
    assert trial.tell(done(b, tokens=44)) == []  # it overtook its cancellation
    assert trial.closed
    bill = trial.result.bill
    assert (bill.cancelled.tokens, bill.answers.tokens, bill.total.tokens) == (33, 64, 97)
    assert bill.total == trial.ledger.spent
    assert trial.result.answer == "9"


def test_a_race_that_is_iterated_to_its_end_cancels_nothing() -> None:
    order: list[str] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing(n=3) as finishing:
            async for candidate in finishing:
                order.append(candidate.id)
        return candidate

    trial = trial_of(strategy)
    a, b, c = ids(trial.start())
    assert [trial.tell(done(id)) for id in (b, c, a)] == [[], [], []]
    assert order == [b, c, a]
    assert trial.closed


def test_leaving_by_an_exception_cancels_too() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing(n=2) as finishing:
            await anext(finishing)
            raise ValueError("no")

    trial = trial_of(strategy)
    a, b = ids(trial.start())
    assert trial.tell(done(a)) == [Cancel(b)]


def test_streaming_gives_text_as_it_comes_and_stop_keeps_the_partial_text() -> None:
    updates: list[Update] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.streaming(n=2) as stream:
            async for update in stream:
                updates.append(update)
                if update.text == "Answer: 12" and update.candidate is None:
                    stream.stop(update.id)
                    stream.stop(update.id)
        return next(u.candidate for u in updates if u.candidate is not None)

    trial = trial_of(strategy)
    asked = trial.start()
    a, b = ids(asked)
    assert all(isinstance(action, Generate) and action.request.progress for action in asked)
    assert trial.tell(Progressed(a, 0.5, "Answer: 1", 0, 3, -0.5)) == []
    assert trial.tell(Progressed(b, 0.5, "Hm", 0, 1)) == []
    assert trial.tell(Progressed(a, 0.6, "2", 9, 4)) == [Cancel(a)]
    assert trial.tell(gone(a, text="Answer: 123", tokens=5)) == []
    assert trial.tell(done(b, text="Hm. Answer: 4")) == []
    assert [(u.id, u.text, u.tokens, u.mean_logprob) for u in updates] == [
        (a, "Answer: 1", 3, -0.5),
        (b, "Hm", 1, None),
        (a, "Answer: 12", 4, None),
        (a, "Answer: 123", 5, None),
        (b, "Hm. Answer: 4", 10, None),
    ]
    result = trial.result
    assert result.answer == "123"
    assert result.selected is not None and not result.selected.complete
    assert result.bill.answers.tokens == 15  # it was stopped on purpose: what it cost bought its text
    assert result.bill.cancelled == Cost()


def test_a_stream_that_begins_again_after_a_crash_or_is_told_twice_has_no_text_twice() -> None:
    texts: list[tuple[str, int]] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.streaming(n=1) as stream:
            async for update in stream:
                texts.append((update.text, update.tokens))
        assert update.candidate is not None
        return update.candidate

    trial = trial_of(strategy)
    (id,) = ids(trial.start())
    for text, offset, tokens in (("ab", 0, 1), ("cd", 2, 2), ("cd", 2, 2), ("x", 0, 1), ("yz", 1, 3)):
        assert trial.tell(Progressed(id, 1.0, text, offset, tokens)) == []
    trial.tell(done(id, text="xyz"))
    assert texts == [("ab", 1), ("abcd", 2), ("x", 1), ("xyz", 3), ("xyz", 10)]


@pytest.mark.parametrize(
    "watching",
    [
        {"group": -1},
        {"group": 2.5},
        {"group": 2, "top_logprobs": 0},
        {"below": 3.0},
        {"group": 4, "below": math.nan},
        {"group": 4, "below": "x"},
    ],
)
def test_groups_that_cannot_be_followed_are_refused_before_anything_is_asked(watching: dict[str, Any]) -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        run.streaming(**{"top_logprobs": 5, **watching})
        raise AssertionError

    trial = trial_of(strategy)
    assert trial.start() == []
    assert trial.result.error is not None and trial.result.error.type == "InvalidParameter"
    assert ("group" if "below" not in watching else "below") in trial.result.error.message


def test_stopping_what_has_not_been_sent_yet_ends_it_without_a_trace() -> None:
    seen: list[str] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.streaming(n=3) as stream:
            async for update in stream:
                seen.append(update.id)
                for other in set(stream.pending) - {update.id}:
                    stream.stop(other)
        assert update.candidate is not None
        return update.candidate

    trial = trial_of(strategy, share=Limits(tokens=250))
    a, b = ids(trial.start())
    assert trial.tell(Progressed(a, 0.5, "A", 0, 1)) == [Cancel(b)]
    withdrawn = Refused(b, 0.6, ErrorInfo(tts.core.trials.endings.WITHDRAWN, "it had not left the scheduler"))
    assert trial.tell(withdrawn) == []
    trial.tell(done(a))
    assert trial.closed
    assert (trial.result.error, trial.result.exhausted) == (None, False)
    assert seen == [a, a]
    assert trial.result.bill.total.samples == 1


# --- verify


class Confused(Judge):
    """A verifier whose request is no request."""

    def request(self, problem: Problem, candidate: Candidate) -> Any:
        return "Is it right?" if candidate.id.endswith("/1") else candidate.missing  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("first", "message"), [(0, "must return a tts.core.actions.Request or None"), (1, "AttributeError")]
)
def test_what_goes_wrong_in_a_verifiers_request_is_the_verifiers_error(first: int, message: str) -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=2)
        await run.verify(found[first:], "judge")
        return found[0]

    trial = trial_of(strategy)
    trial._verifiers = {"judge": Confused()}
    for id in ids(trial.start()):
        trial.tell(done(id))
    error = trial.result.error
    assert error is not None and error.type == "CallFailed"
    assert "the verifier judge" in error.message and message in error.message


def test_verify_returns_the_mean_per_candidate_leaves_abstentions_out_and_is_charged() -> None:
    got: list[Score] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=3)
        got.extend(await run.verify(found, "judge", repeats=2))
        return found[0]

    trial = trial_of(strategy)
    asked = [action for id in ids(trial.start()) for action in trial.tell(done(id))]
    verifications = ids(asked, Verify)
    assert len(verifications) == 6
    for id, value in zip(verifications[:4], (0.2, 0.6, None, 0.9), strict=True):
        trial.tell(scored(id, value))
    trial.tell(scored(verifications[4], None))
    trial.tell(failed(verifications[5], tokens=3))
    assert [s.value for s in got] == [pytest.approx(0.4), 0.9, None]
    result = trial.result
    assert result.bill.verifier == Cost(5, 20, 5 * 5 + 2 * 20, None)
    assert result.bill.failed.tokens == 3
    assert result.bill.total.samples == 3 + 6
    assert {id: [s.value for s in scores] for id, scores in result.scores.items()} == {
        result.candidates[0].id: [0.2, 0.6],
        result.candidates[1].id: [None, 0.9],
        result.candidates[2].id: [None],
    }


def test_scores_of_a_verifier_that_computes_count_and_cost_nothing() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=2)
        scores = await run.verify(found, "count")
        return found[0] if (scores[0].value or 0.0) > (scores[1].value or 0.0) else found[1]

    trial = trial_of(strategy, share=Limits(samples=2))
    asked = [action for id in ids(trial.start()) for action in trial.tell(done(id))]
    a, b = ids(asked, Verify)
    trial.tell(Scored(a, 2.0, Score(1.0, "count", "scale")))
    trial.tell(Scored(b, 2.0, Score(2.0, "count", "scale")))
    result = trial.result
    assert result.selected is not None and result.selected.id == result.candidates[1].id
    assert [s.value for scores in result.scores.values() for s in scores] == [1.0, 2.0]
    assert result.bill.verifier == Cost()
    assert result.error is None


def test_an_unknown_verifier_is_refused_with_the_nearest_name() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        with pytest.raises(UnknownName, match=r"unknown verifier 'juge'\. Did you mean 'judge'"):
            await run.verify([], "juge")
        return (await run.generate())[0]

    trial = trial_of(strategy)
    (id,) = ids(trial.start())
    trial.tell(done(id))
    assert trial.result.error is None


# --- gather


def test_gather_returns_results_in_order_whatever_ended_first() -> None:
    async def chain(run: Run, name: str) -> str:
        await run.generate(name)
        return name

    async def strategy(problem: Problem, run: Run) -> Candidate:
        assert await run.gather(chain(run, "a"), chain(run, "b"), chain(run, "c")) == ["a", "b", "c"]
        assert await run.gather() == []
        return run.candidates[0]

    trial = trial_of(strategy)
    a, b, c = ids(trial.start())
    for id in (c, a, b):
        trial.tell(done(id))
    assert trial.result.error is None and trial.closed


def test_a_failing_child_cancels_its_siblings_with_everything_they_started() -> None:
    caught: list[ExceptionGroup[Exception]] = []

    async def bad(run: Run) -> None:
        await run.generate("bad")
        raise ValueError("bad luck")

    async def busy(run: Run) -> None:
        async with run.finishing("race", n=2), run.deadline(9.0):
            await run.gather(run.generate("left"), run.generate("right"))

    async def strategy(problem: Problem, run: Run) -> Candidate:
        try:
            await run.gather(bad(run), busy(run))
        except* ValueError as group:
            caught.append(group)
        return (await run.generate("after"))[0]

    trial = trial_of(strategy)
    asked = trial.start()
    prompts = {a.id: a.request.messages[-1].content for a in asked if isinstance(a, Generate)}
    assert sorted(prompts.values()) == ["bad", "left", "race", "race", "right"]
    (bad_id,) = (id for id, prompt in prompts.items() if prompt == "bad")
    (sleep,) = ids(asked, Sleep)
    told = trial.tell(done(bad_id))
    assert {a.id for a in told if isinstance(a, Cancel)} == {*prompts, sleep} - {bad_id}
    assert [type(e) for e in caught[0].exceptions] == [ValueError]
    (after,) = ids(told)
    for id in sorted({*prompts, sleep} - {bad_id}):
        trial.tell(gone(id))
    trial.tell(done(after))
    assert trial.closed and trial.result.error is None
    assert trial.ledger.reservations == {}


def test_children_that_fail_while_they_are_cancelled_are_in_the_group_too() -> None:
    async def bad(run: Run) -> None:
        raise ValueError("first")

    async def worse(run: Run) -> None:
        try:
            await run.generate()
        finally:
            raise KeyError("second")

    async def stubborn(run: Run) -> None:
        try:
            await run.generate()
        finally:
            await run.generate("while it is being cancelled")

    async def strategy(problem: Problem, run: Run) -> Candidate:
        with pytest.raises(ExceptionGroup, match="3 of 3 chains failed") as caught:
            await run.gather(stubborn(run), worse(run), bad(run))
        kinds = [type(e).__name__ for e in caught.value.exceptions]
        assert kinds == ["StrategyCrashed", "KeyError", "ValueError"]
        return (await run.generate("after"))[0]

    trial = trial_of(strategy)
    asked = trial.start()
    *before, after = ids(asked)
    assert sorted(before) == ["cell/p/1.0.1", "cell/p/1.0.2", "cell/p/1.1.1"]
    assert {a.id for a in asked if isinstance(a, Cancel)} == set(before)
    for id in before:
        trial.tell(gone(id))
    trial.tell(done(after))
    assert trial.closed and trial.result.error is None


def test_a_group_that_nobody_catches_is_reported_as_what_went_wrong_in_it() -> None:
    async def starved(run: Run) -> None:
        raise BudgetExhausted("none left")

    async def broken(run: Run) -> None:
        try:
            await run.generate()
        finally:
            raise ValueError("while being cancelled")

    async def crashed(run: Run) -> None:
        raise KeyError("of its own")

    async def strategy(problem: Problem, run: Run) -> Candidate:
        await run.gather(run.gather(starved(run)), broken(run), crashed(run))
        return run.candidates[0]

    trial = trial_of(strategy)
    asked = trial.start()
    assert trial.done
    error = trial.result.error
    assert error is not None and error.type == "StrategyCrashed"
    assert error.message == "strategy tried raised ValueError: while being cancelled (problem p)"
    assert not trial.exhausted
    assert len(ids(asked)) == len(ids(asked, Cancel)) == 1


def test_a_chain_whose_samples_all_failed_is_reported_as_just_that() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        await run.gather(run.generate("a"), run.generate("b"))
        return run.candidates[0]

    trial = trial_of(strategy)
    a, b = ids(trial.start())
    assert trial.tell(failed(a)) == []  # its sibling goes on
    trial.tell(failed(b))
    assert trial.result.error is not None and trial.result.error.type == "AllFailed"


@pytest.mark.parametrize("share", [Limits(samples=5), Limits()])
def test_a_chain_that_has_nothing_to_go_on_with_ends_alone_and_its_siblings_finish(share: Limits) -> None:
    async def chain(run: Run) -> Candidate:
        await run.generate()
        return (await run.generate())[0]

    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.gather(*(chain(run) for _ in range(3)))
        assert [candidate.id for candidate in found] == ["cell/p/1.0.2", "cell/p/1.1.2"]
        return found[-1]

    trial = trial_of(strategy, share=share)
    waiting, cancels = ids(trial.start()), 0
    while waiting:
        fails = waiting[0] == "cell/p/1.2.2"
        actions = trial.tell((failed if fails else done)(waiting[0]))
        waiting = waiting[1:] + ids(actions)
        cancels += len(ids(actions, Cancel))
    assert trial.closed and cancels == 0
    assert (trial.exhausted, trial.result.answer) == (share != Limits(), "7")


def test_nested_gathers_start_cancel_and_number_their_actions_by_chain() -> None:
    async def leaf(run: Run, name: str) -> str:
        await run.generate(name)
        await run.generate(name + "!")
        return name

    async def inner(run: Run, name: str) -> list[str]:
        return await run.gather(leaf(run, name + "0"), leaf(run, name + "1"))

    async def strategy(problem: Problem, run: Run) -> Candidate:
        assert await run.gather(inner(run, "a"), inner(run, "b")) == [["a0", "a1"], ["b0", "b1"]]
        return run.candidates[0]

    def numbers(order: Callable[[list[str]], list[str]]) -> dict[str, str]:
        trial = trial_of(strategy)
        found: dict[str, str] = {}
        asked = trial.start()
        waiting: list[str] = []
        while asked or waiting:
            found |= {a.request.messages[-1].content: a.id for a in asked if isinstance(a, Generate)}
            waiting = order(waiting + ids(asked))
            asked = trial.tell(done(waiting.pop()))
        assert trial.closed and trial.result.error is None
        return found

    assert numbers(sorted) == numbers(lambda ids: sorted(ids, reverse=True))
    assert numbers(sorted)["b1!"] == "cell/p/1.1.1.1.2"


# --- call


def test_call_names_the_function_and_returns_its_value_or_raises_its_error() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        assert await run.call(math.isqrt, 3, timeout_s=2.0) == 12
        with pytest.raises(CallFailed, match="it raised"):
            await run.call(math.isqrt, 4)
        return (await run.generate())[0]

    trial = trial_of(strategy, share=Limits(samples=1))
    (call,) = trial.start()
    assert isinstance(call, Call)
    assert (call.function, call.args, call.timeout_s) == ("math:isqrt", (3,), 2.0)
    (second,) = trial.tell(Returned(call.id, 1.0, 12, Timing(0.25)))
    (third,) = trial.tell(Failed(second.id, 1.0, ErrorInfo("CallFailed", "it raised")))
    trial.tell(done(third.id))
    result = trial.result
    assert result.error is None and result.failures == ()
    assert result.bill.latency_s == 1.25
    assert result.bill.total.samples == 1


# --- deadlines


def test_a_deadline_cancels_what_its_block_started_and_raises_in_it() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        try:
            async with run.deadline(5.0):
                await run.generate(n=2)
        except DeadlineExceeded as error:
            assert error.message == "cell/p: 5 s have passed"
            assert run.now_s == 7.0
        return run.candidates[0]

    trial = trial_of(strategy)
    asked = trial.start(now=2.0)
    sleep = next(a for a in asked if isinstance(a, Sleep))
    assert sleep.until_s == 7.0
    a, b = ids(asked)
    assert trial.tell(done(a, at_s=3.0)) == []
    assert trial.tell(Woke(sleep.id, 7.0)) == [Cancel(b)]
    trial.tell(gone(b, 7.0, tokens=3))
    assert trial.closed and trial.result.answer == "7"
    assert trial.result.bill.cancelled.tokens == 3


def test_a_block_that_ends_in_time_cancels_its_alarm() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.deadline(5.0):
            return (await run.generate())[0]

    trial = trial_of(strategy)
    asked = trial.start()
    (sleep,) = ids(asked, Sleep)
    assert trial.tell(done(ids(asked)[0])) == [Cancel(sleep)]
    assert trial.done and not trial.closed
    trial.tell(gone(sleep))
    assert trial.closed and trial.result.error is None


def test_a_deadline_around_a_gather_cancels_every_chain() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        with pytest.raises(DeadlineExceeded):
            async with run.deadline(1.0):
                await run.gather(run.generate("a", n=2), run.gather(run.generate("b")))
        return (await run.generate("after"))[0]

    trial = trial_of(strategy)
    asked = trial.start()
    (sleep,) = ids(asked, Sleep)
    told = trial.tell(Woke(sleep, 1.0))
    assert {a.id for a in told if isinstance(a, Cancel)} == set(ids(asked))
    for id in ids(asked):
        trial.tell(gone(id))
    trial.tell(done(ids(told)[0]))
    assert trial.closed and trial.result.error is None


def test_a_deadline_in_one_chain_leaves_its_sibling_alone() -> None:
    async def hasty(run: Run) -> str:
        try:
            async with run.deadline(1.0):
                await run.generate("hasty")
        except DeadlineExceeded:
            return "late"
        return "in time"

    async def strategy(problem: Problem, run: Run) -> Candidate:
        late, (patient,) = await run.gather(hasty(run), run.generate("patient"))
        assert late == "late"
        return patient

    trial = trial_of(strategy)
    asked = trial.start()
    hasty_id, patient_id = ids(asked)
    assert trial.tell(Woke(ids(asked, Sleep)[0], 1.0)) == [Cancel(hasty_id)]
    trial.tell(gone(hasty_id))
    trial.tell(done(patient_id, at_s=9.0))
    assert trial.closed and trial.result.answer == "7"


def test_of_two_nested_deadlines_the_one_that_passed_is_the_one_raised() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        with pytest.raises(DeadlineExceeded, match="2 s have passed"):
            async with run.deadline(2.0), run.deadline(3.0):
                await run.generate()
        return (await run.generate())[0]

    trial = trial_of(strategy)
    asked = trial.start()
    outer, inner = ids(asked, Sleep)
    told = trial.tell(Woke(outer, 2.0))
    assert {a.id for a in told if isinstance(a, Cancel)} == {inner, *ids(asked)}
    assert trial.tell(Woke(inner, 3.0)) == []  # it had been cancelled, and came all the same
    trial.tell(gone(ids(asked)[0]))
    trial.tell(done(ids(told)[0]))
    assert trial.closed and trial.result.error is None


@pytest.mark.parametrize("alarm_first", [False, True])
def test_an_alarm_and_an_event_of_the_same_instant_lose_nothing_in_either_order(alarm_first: bool) -> None:
    """The race is outside the deadline: what the alarm interrupts must still come to it."""
    seen: list[str] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing(n=2) as finishing:
            try:
                async with run.deadline(5.0):
                    async for candidate in finishing:
                        seen.append(candidate.id)
            except DeadlineExceeded:
                seen.append("late")
            async for candidate in finishing:
                seen.append(candidate.id)
        return candidate

    trial = trial_of(strategy)
    asked = trial.start()
    a, b = ids(asked)
    events: list[End] = [done(a, at_s=5.0), Woke(ids(asked, Sleep)[0], 5.0)]
    for event in reversed(events) if alarm_first else events:
        trial.tell(event)
    trial.tell(done(b, at_s=6.0))
    assert seen == (["late", a, b] if alarm_first else [a, "late", b])
    assert trial.closed and trial.result.error is None


def test_what_a_deadline_interrupted_keeps_what_comes_while_the_strategy_waits_for_something_else() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing("race", n=1) as finishing:
            with pytest.raises(DeadlineExceeded):
                async with run.deadline(5.0):
                    await anext(finishing)
            (other,) = await run.generate("other")
            assert other.answer == "9"
            return await anext(finishing)

    trial = trial_of(strategy)
    asked = trial.start()
    (other,) = ids(trial.tell(Woke(ids(asked, Sleep)[0], 5.0)))
    assert trial.tell(done(ids(asked)[0], at_s=6.0)) == []
    trial.tell(done(other, at_s=7.0, text="Answer: 9"))
    assert trial.closed and trial.result.error is None
    assert trial.result.answer == "7"


def test_a_deadline_entered_in_an_async_generator_still_only_ends_the_strategy() -> None:
    async def hurried(run: Run) -> AsyncIterator[Candidate]:
        async with run.deadline(1.0):
            yield (await run.generate("inside"))[0]

    async def strategy(problem: Problem, run: Run) -> Candidate:
        async for _ in hurried(run):
            await run.generate("outside")
        return run.candidates[0]

    trial = trial_of(strategy)
    asked = trial.start()
    (outside,) = ids(trial.tell(done(ids(asked)[0])))
    assert Cancel(outside) in trial.tell(Woke(ids(asked, Sleep)[0], 1.0))
    trial.tell(gone(outside))
    assert trial.closed
    assert trial.result.error is not None and trial.result.error.type == "DeadlineExceeded"


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_deadline_must_be_in_the_future(seconds: float) -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.deadline(seconds):
            return (await run.generate())[0]

    trial = trial_of(strategy)
    assert trial.start() == []
    assert trial.result.error is not None
    assert trial.result.error.message.startswith("deadline must be above 0 seconds, but got")


# --- budgets


def test_what_the_share_can_hold_is_returned_and_the_result_says_that_there_would_have_been_more() -> None:
    caught: list[BudgetExhausted] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        assert not run.exhausted
        found = await run.generate(n=5)
        assert len(found) == 3 and run.exhausted
        try:
            await run.generate()
        except BudgetExhausted as error:
            caught.append(error)
        return found[-1]

    trial = trial_of(strategy, share=Limits(samples=3))
    asked = ids(trial.start())
    assert len(asked) == 3
    for id in asked[:2]:
        assert trial.tell(done(id)) == []
    assert not trial.done
    trial.tell(done(asked[2], text="Answer: 3"))
    assert trial.closed and trial.exhausted
    assert trial.result.answer == "3"
    assert caught[0].facts == {"limit": "samples", "asked": 1, "left": 0, "trial": "cell/p"}


def test_an_ask_waits_while_something_in_flight_could_free_its_room() -> None:
    trial = trial_of(race, share=Limits(tokens=250), n=4)  # at 100 tokens each
    a, b = ids(trial.start())
    (c,) = ids(trial.tell(failed(a, tokens=20)))
    assert trial.ledger.reserved.tokens == 200
    assert trial.tell(failed(b, tokens=100)) == []  # 120 spent, 100 reserved: the fourth may still fit
    (d,) = ids(trial.tell(failed(c, tokens=10)))
    trial.tell(done(d, tokens=100))
    assert trial.closed and trial.result.error is None
    assert trial.ledger.spent.tokens == 230


def test_an_ask_does_not_overtake_one_that_waits() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        big = await run.gather(run.generate("first", n=2), run.generate("small", max_tokens=5))
        return big[0][0]

    trial = trial_of(strategy, share=Limits(tokens=150))
    (first,) = ids(trial.start())
    second, small = ids(trial.tell(done(first)))
    assert trial.ledger.reserved.tokens == 105
    trial.tell(done(small))
    trial.tell(done(second))
    assert trial.closed and trial.result.error is None


def test_exhaustion_that_the_strategy_lets_pass_falls_back_on_its_selector() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        run.fallback = lambda candidates, scores: majority(list(candidates), {})
        while True:
            await run.generate()

    trial = trial_of(strategy, share=Limits(samples=3))
    asked = trial.start()
    for text in ("Answer: 5", "Answer: 8", "Answer: 8"):
        asked = trial.tell(done(ids(asked)[0], text=text))
    assert asked == [] and trial.closed
    result = trial.result
    assert (result.answer, result.exhausted, result.error) == ("8", True, None)


def test_exhaustion_without_a_single_sample_says_so() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate())[0]

    trial = trial_of(strategy, share=Limits(tokens=99))
    assert trial.start() == []
    result = trial.result
    assert (result.selected, result.exhausted) == (None, True)
    assert result.error is not None and result.error.type == "BudgetExhausted"
    assert "it may need 100 tokens, 99 are left" in result.error.message


@pytest.mark.parametrize("inside", [True, False])
def test_exhaustion_in_every_chain_of_a_gather_is_exhaustion(inside: bool) -> None:
    async def chain(run: Run) -> None:
        while True:
            await run.generate()

    async def strategy(problem: Problem, run: Run) -> Candidate:
        await run.gather(chain(run), run.gather(chain(run)) if inside else chain(run))
        raise AssertionError

    trial = trial_of(strategy, share=Limits(samples=4))
    asked = ids(trial.start())
    while asked:
        asked = asked[1:] + ids(trial.tell(done(asked[0])))
    assert trial.closed
    assert (trial.result.exhausted, trial.result.error, trial.result.answer) == (True, None, "7")


def test_a_fallback_that_raises_or_returns_nonsense_is_the_strategys_crash_not_the_runs() -> None:
    def crash(candidates: Any, scores: Any) -> Candidate:
        raise ZeroDivisionError("in the selector")

    def nonsense(candidates: Any, scores: Any) -> Any:
        return "7"

    def through(fallback: Any) -> ErrorInfo:
        async def strategy(problem: Problem, run: Run) -> Candidate:
            run.fallback = fallback
            while True:
                await run.generate()

        trial = trial_of(strategy, share=Limits(samples=1))
        trial.tell(done(ids(trial.start())[0]))
        assert trial.closed and trial.exhausted
        assert trial.result.selected is None and trial.result.error is not None
        return trial.result.error

    assert through(crash).message == "strategy tried raised ZeroDivisionError: in the selector (problem p)"
    assert through(nonsense).message == "the fallback of strategy tried must return a Candidate, but returned str"


def test_a_refusal_by_the_run_is_exhaustion_too_and_frees_the_share() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(n=2))[0]

    trial = trial_of(strategy, share=Limits(samples=2))
    a, b = ids(trial.start())
    trial.tell(done(a))
    trial.tell(Refused(b, 1.0, ErrorInfo.of(BudgetExhausted("run: no room", limit="tokens"))))
    assert trial.closed and trial.exhausted
    assert trial.result.answer == "7"
    assert trial.ledger.spent.samples == 1 and trial.ledger.reservations == {}


def test_an_open_count_spends_the_share_and_says_that_the_budget_ended_it() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=None)
        assert len(found) == 6
        return found[-1]

    trial = trial_of(strategy, share=Limits(tokens=450))
    waiting = ids(trial.start())
    assert len(waiting) == 4
    while waiting:
        waiting = waiting[1:] + ids(trial.tell(done(waiting[0], tokens=60)))
        assert (trial.ledger.spent + trial.ledger.reserved).tokens <= 450
    assert trial.closed and trial.exhausted and trial.result.error is None
    assert trial.ledger.spent.tokens == 360
    assert trial.ledger.left().tokens == 90  # less than the 100 that one more may need


@pytest.mark.parametrize("n", [None, 9])
def test_a_result_says_how_much_of_its_budget_was_left_and_what_the_next_sample_may_have_cost(n: int | None) -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(n=n))[0]

    trial = trial_of(strategy, share=Limits(tokens=150))
    waiting = ids(trial.start())
    while waiting:
        waiting = ids(trial.tell(done(waiting[0], tokens=40)))
    assert trial.result.shortage == Shortage("sample", "tokens", asked=100, left=70, budget=150)
    assert trial.ledger.spent.tokens == 80


def test_a_budget_that_was_not_met_has_no_shortage() -> None:
    trial = trial_of(race, share=Limits(samples=2), n=2)
    for id in ids(trial.start()):
        trial.tell(done(id))
    assert trial.closed and trial.result.shortage is None


def test_an_open_count_has_so_many_in_flight_and_no_more() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(n=None))[0]

    trial = trial_of(strategy, share=Limits(samples=10**6))
    waiting = ids(trial.start())
    assert len(waiting) == OPEN_WINDOW
    assert len(trial.tell(done(waiting[0]))) == 1


def test_an_open_count_without_a_budget_is_refused() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(n=None))[0]

    trial = trial_of(strategy)
    assert trial.start() == []
    assert trial.result.error is not None
    assert trial.result.error.message.startswith("tried: n=None spends the whole budget, but there is none")


def test_an_open_count_ends_when_only_failures_come_though_they_cost_nothing() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(n=None))[0]

    trial = trial_of(strategy, share=Limits(tokens=300))
    waiting = ids(trial.start())
    asked = len(waiting)
    while waiting:
        more = ids(trial.tell(failed(waiting[0])))
        waiting = waiting[1:] + more
        asked += len(more)
        assert asked < 50
    assert asked == OPEN_FAILURES + 2  # those in flight when the last straw came
    assert trial.closed
    assert trial.result.error is not None and trial.result.error.type == "AllFailed"


def test_an_open_count_waits_for_room_that_others_hold_instead_of_giving_up() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing("held", n=2) as held:
            first = await anext(held)
            found, rest = await run.gather(run.generate("open", n=None), drained(held))
            return [first, *found, *rest][-1]

    async def drained(held: Any) -> list[Candidate]:
        return [candidate async for candidate in held]

    trial = trial_of(strategy, share=Limits(tokens=200))
    a, b = ids(trial.start())
    assert trial.tell(done(a, tokens=100)) == []
    (c,) = ids(trial.tell(done(b, tokens=0)))
    trial.tell(done(c, tokens=100))
    assert trial.closed and trial.result.error is None and trial.exhausted


def test_the_seconds_of_a_share_end_what_runs_and_refuse_what_comes_after() -> None:
    refused: list[str] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        assert run.remaining.seconds == 10.0
        (found,) = await run.gather(run.generate(n=2), run.generate())  # the second chain has nothing
        assert [candidate.id for candidate in found] == ["cell/p/2.0.1"] and run.exhausted
        try:
            await run.generate()
        except BudgetExhausted as error:
            refused.append(error.message)
        assert run.remaining.seconds == 0.0
        return run.candidates[0]

    trial = trial_of(strategy, share=Limits(seconds=10.0))
    asked = trial.start(now=5.0)
    assert ids(asked, Sleep) == ["cell/p/1"]
    a, b, c = ids(asked)
    trial.tell(done(a, 7.0))
    cancels = trial.tell(Woke("cell/p/1", 15.0))
    assert cancels == [Cancel(b), Cancel(c)]
    assert refused == ["cell/p: the budget of 10 s has passed"]
    assert trial.done
    trial.tell(gone(b, 15.0))
    trial.tell(gone(c, 15.0))
    assert trial.closed and trial.result.answer == "7"


@pytest.mark.parametrize("manner", ["obeys", "goes on", "catches"])
def test_what_has_come_may_be_compared_after_the_seconds_have_passed_but_not_for_ever(manner: str) -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=2)
        more = True
        while more:
            with contextlib.suppress(*[Exception] * (manner == "catches")):
                more = await run.call("math:sqrt", 4) or manner != "obeys"
        return found[0]

    trial = trial_of(strategy, share=Limits(seconds=10.0))
    a, b = ids(trial.start())
    trial.tell(done(a, 7.0))
    actions = trial.tell(Woke("cell/p/1", 10.0))
    (call,), (late,) = ids(actions, Call), ids(actions, Sleep)
    trial.tell(gone(b, 10.0))
    if manner == "obeys":
        assert trial.tell(Returned(call, 12.0, 0.0)) == [Cancel(late)]
    else:
        (again,) = ids(trial.tell(Returned(call, 12.0, 2.0)), Call)
        assert Cancel(again) in trial.tell(Woke(late, 20.0))
    assert trial.done and trial.result.answer == "7" and trial.exhausted


FREE: dict[str, Callable[[Run, Candidate], Any]] = {
    "call": lambda run, candidate: run.call("math:sqrt", 4),
    "sleep": lambda run, candidate: run.sleep(0),
    "verify": lambda run, candidate: run.verify([candidate], "count"),
}


@pytest.mark.parametrize("free", FREE)
@pytest.mark.parametrize("asks", [True, False])
def test_a_strategy_that_awaits_what_costs_nothing_for_ever_is_ended_and_one_that_samples_between_is_not(
    free: str, asks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tts.core.trials.trial, "MOST_FREE_AWAITS", 10)

    async def strategy(problem: Problem, run: Run) -> Candidate:
        for i in range(100):
            if i == 0 or (asks and i % 10 == 0):
                (candidate,) = await run.generate()
            with contextlib.suppress(Exception):
                await FREE[free](run, candidate)
        return candidate

    trial = trial_of(strategy)
    actions, told = trial.start(), 0
    while not trial.closed:
        (action,) = actions
        ends = {Generate: done, Call: lambda id: Returned(id, 1.0, 2.0), Sleep: lambda id: Woke(id, 1.0)}
        actions = trial.tell(ends.get(type(action), lambda id: scored(id, 1.0, by="count"))(action.id))  # type: ignore[arg-type, operator]
        told += not isinstance(action, Generate)
    if asks:
        assert trial.result.error is None and told == 100
    else:
        assert trial.result.error is not None and told == 11
        assert "awaited 10 times in a row what asks no model" in trial.result.error.message


@pytest.mark.parametrize("block", ["finishing", "streaming", "race"])
def test_a_block_that_was_not_entered_says_so_and_gives_no_empty_list(block: str) -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = [value async for value in getattr(run, block)()]
        raise AssertionError(found)

    trial = trial_of(strategy)
    assert trial.start() == [] and trial.result.error is not None
    assert f"run.{block}(...) is a block: `async with run.{block}(...)" in trial.result.error.message


def test_every_update_of_a_continuation_has_the_text_that_it_continues() -> None:
    seen: list[str] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.streaming(continue_from="So ") as updates:
            async for update in updates:
                seen.append(update.text)
        assert update.candidate is not None
        return update.candidate

    trial = trial_of(strategy)
    (id,) = ids(trial.start())
    trial.tell(Progressed(id, 1.0, "Ans", 0, 1, None))
    trial.tell(Progressed(id, 1.5, "wer", 3, 2, None))
    trial.tell(done(id, 2.0, "Answer: 7"))
    assert seen == ["So Ans", "So Answer", "So Answer: 7"]


def test_the_sample_of_a_chain_does_not_depend_on_which_chain_was_faster() -> None:
    async def chain(run: Run) -> Candidate:
        await run.call("math:sqrt", 4)
        return (await run.generate())[0]

    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.gather(chain(run), chain(run)))[0]

    def seeds(backwards: bool) -> dict[str, int]:
        trial = trial_of(strategy)
        calls = ids(trial.start(), Call)
        asked = [a for id in sorted(calls, reverse=backwards) for a in trial.tell(Returned(id, 1.0, 2.0))]
        return {action.id: action.request.seed for action in asked if isinstance(action, Generate)}

    assert seeds(backwards=False) == seeds(backwards=True) and len(set(seeds(False).values())) == 2


def test_a_strategy_that_verifies_on_after_its_budget_is_spent_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tts.core.trials.verifying, "MOST_REFUSALS", 5)
    monkeypatch.setattr(tts.core.trials.trial, "MOST_STEPS", 1000)
    tries: list[int] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.generate()
        while True:
            tries.append(1)
            await run.verify(found, "judge")

    trial = trial_of(strategy, share=Limits(samples=1))
    trial.tell(done(ids(trial.start())[0]))
    assert trial.done and trial.result.error is None and trial.result.answer == "7" and len(tries) == 6


@pytest.mark.parametrize("together", [1, 30])
def test_a_strategy_that_asks_on_in_chains_is_told_so_and_chains_side_by_side_are_one_ask(
    monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(tts.core.trials.trial, "MOST_REFUSALS", 5)
    rounds: list[int] = []

    async def chain(run: Run) -> bool:
        try:
            await run.generate()
        except BudgetExhausted:
            return False
        return True

    async def strategy(problem: Problem, run: Run) -> Candidate:
        await run.generate()
        while True:
            rounds.append(1)
            async with run.race(*(chain(run) for _ in range(together))) as done:
                async for _ in done:
                    pass

    trial = trial_of(strategy, share=Limits(samples=1))
    trial.tell(done(ids(trial.start())[0]))
    error = trial.result.error
    assert error is not None and "asked on after 10 refusals" in error.message and len(rounds) == 11


def test_a_race_that_the_budget_cut_says_so_though_it_was_left_before_all_had_come() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing(n=2) as samples:
            return await anext(samples)

    trial = trial_of(strategy, share=Limits(tokens=150))
    (id,) = ids(trial.start())
    trial.tell(done(id, tokens=100))
    assert trial.closed and trial.exhausted
    assert trial.result.shortage is not None and trial.result.shortage.limit == "tokens"


def test_what_a_strategy_has_not_waited_for_is_not_in_its_longest_chain() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        (candidate,) = await run.generate()
        async with run.streaming() as updates:
            await run.call("math:sqrt", 4)
            assert (await anext(updates)).candidate is None  # a piece, which came before the end that is there, too
        return candidate

    trial = trial_of(strategy)
    asked = trial.tell(done(ids(trial.start())[0], tokens=5))
    (streamed,), (call,) = ids(asked), ids(asked, Call)
    trial.tell(Progressed(streamed, 1.0, "Ans", 0, 1, None))
    trial.tell(done(streamed, tokens=70))
    trial.tell(Returned(call, 2.0, 2.0))
    assert trial.closed and trial.result.bill.sequential_tokens == 5


def test_a_mean_score_has_the_mean_of_the_masses_that_are_known() -> None:
    seen: list[float | None] = []

    async def strategy(problem: Problem, run: Run) -> Candidate:
        (candidate,) = await run.generate()
        await run.verify([candidate], "judge", repeats=3)
        seen.append(run.mean_score(candidate, "judge").mass)
        return candidate

    trial = trial_of(strategy)
    for id, mass in zip(ids(trial.tell(done(ids(trial.start())[0])), Verify), (0.5, 1.0, None), strict=True):
        trial.tell(Scored(id, 2.0, Score(0.5, "judge", mass=mass), Usage(5, 4), Timing(0.5)))
    assert seen == [0.75]


def test_chains_may_await_as_often_as_there_are_samples() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=1000)
        await run.gather(*(run.verify([candidate], "count") for candidate in found))
        return found[0]

    trial = trial_of(strategy)
    for id in ids(trial.start()):
        actions = trial.tell(done(id))
    for id in ids(actions, Verify):
        trial.tell(scored(id, 1.0, by="count"))
    assert trial.closed and trial.result.error is None


def test_what_is_left_is_told_to_the_strategy() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        (candidate,) = await run.generate()
        assert (run.remaining.tokens, run.remaining.samples, run.remaining.seconds) == (490, None, None)
        return candidate

    trial = trial_of(strategy, share=Limits(tokens=500))
    trial.tell(done(ids(trial.start())[0]))
    assert trial.result.error is None


def test_a_limit_on_an_unknown_price_is_refused_at_the_ask_even_behind_others() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        async with run.finishing(n=2) as known:
            with pytest.raises(UnknownCost, match="budget limits usd"):
                await run.verify([], "judge") or await run.verify([run_candidate], "stranger")
            return await anext(known)

    class Stranger(Judge):
        def request(self, problem: Problem, candidate: Candidate) -> Request | None:
            return Request((Message("user", "?"),), Sampling(max_tokens=20), model="nobody's")

    run_candidate = Candidate("cell/p/0", "", None, Completion(""))
    upper_bound = PRICED.upper_bound(Generate("", Request(PROBLEM.messages, Sampling(max_tokens=100)))).usd
    assert upper_bound is not None
    trial = Trial(
        "cell/p",
        PROBLEM,
        strategy,
        StrategySpec("tried"),
        costs=PRICED,
        share=Limits(usd=upper_bound * 1.5),
        verifiers={"judge": Judge(), "stranger": Stranger()},
        sampling=Sampling(max_tokens=100),
    )
    (a,) = ids(trial.start())
    trial.tell(done(a, tokens=100))
    assert trial.closed and trial.result.error is None


# --- the strategy's faults


class _Sleeper:
    def __await__(self) -> Iterator[str]:
        yield "something of its own"


async def sleeps(problem: Problem, run: Run) -> Candidate:
    await asyncio.sleep(1)
    raise AssertionError


async def sleeps_nothing(problem: Problem, run: Run) -> Candidate:
    await asyncio.sleep(0)
    raise AssertionError


async def awaits_its_own(problem: Problem, run: Run) -> Candidate:
    await _Sleeper()
    raise AssertionError


async def sleeps_in_a_chain(problem: Problem, run: Run) -> Candidate:
    await run.gather(sleeps(problem, run), run.generate())
    raise AssertionError


async def sleeps_and_clings(problem: Problem, run: Run) -> Candidate:
    try:
        await asyncio.sleep(1)
    finally:
        await run.generate()
    raise AssertionError


def foreign(strategy: Strategy) -> ErrorInfo:
    trial = trial_of(strategy)
    asked = trial.start()
    assert trial.done
    assert set(ids(asked)) == set(ids(asked, Cancel))
    assert trial.result.error is not None
    return trial.result.error


FOREIGN = (sleeps, sleeps_nothing, awaits_its_own, sleeps_in_a_chain)


@pytest.mark.parametrize("strategy", FOREIGN, ids=lambda s: s.__name__)
@pytest.mark.parametrize("looping", [False, True], ids=["no loop", "in a loop"])
def test_a_foreign_await_is_refused_with_one_clear_sentence(strategy: Strategy, looping: bool) -> None:
    async def inside() -> ErrorInfo:
        return foreign(strategy)

    error = asyncio.run(inside()) if looping else foreign(strategy)
    gc.collect()
    assert error.type == "ForeignAwait"
    assert error.message.startswith("strategy tried awaited ")
    assert error.message.endswith(
        "; a strategy may await only what its Run offers (generate, finishing, streaming, verify, gather, call)"
    )


def test_a_strategy_that_awaits_on_while_it_is_closed_is_refused_all_the_same() -> None:
    async def inside() -> ErrorInfo:
        return foreign(sleeps_and_clings)

    assert asyncio.run(inside()).type == "ForeignAwait"
    gc.collect()


def test_a_bare_future_is_refused() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def inside() -> ErrorInfo:
        return foreign(strategy)

    assert asyncio.run(inside()).message.startswith("strategy tried awaited Future <Future pending>")


@pytest.mark.parametrize("value", [None, "7", [], 3.0])
def test_a_strategy_that_returns_no_candidate_is_told_what_it_returned(value: object) -> None:
    async def strategy(problem: Problem, run: Run) -> Any:
        return value

    trial = trial_of(strategy)
    assert trial.start() == [] and trial.closed
    error = trial.result.error
    assert error is not None and error.type == "StrategyCrashed"
    assert error.message == f"strategy tried must return a Candidate, but returned {type(value).__name__}"


def test_a_crash_names_the_problem_and_the_place_and_keeps_what_was_paid() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        await run.generate()
        return helper()

    def helper() -> Candidate:
        raise KeyError("verdict")

    trial = trial_of(strategy)
    trial.tell(done(ids(trial.start())[0]))
    result = trial.result
    assert result.error is not None and result.error.type == "StrategyCrashed"
    assert result.error.message == "strategy tried raised KeyError: 'verdict' (problem p)"
    line = helper.__code__.co_firstlineno + 1
    assert result.error.facts == {"strategy": "tried", "problem": "p", "where": f"{__file__}:{line}"}
    assert len(result.candidates) == 1 and result.bill.total.tokens == 10


# --- events


def test_an_event_told_twice_counts_once() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(n=2))[0]

    trial = trial_of(strategy)
    a, b = ids(trial.start())
    for _ in range(3):
        assert trial.tell(done(a)) == []
        assert trial.tell(failed(a)) == []
    assert trial.tell(Progressed(a, 1.0, "more", 0, 3)) == []
    trial.tell(done(b))
    trial.tell(done(b))
    assert trial.closed
    assert trial.ledger.spent.tokens == 20
    assert len(trial.result.candidates) == 2


def test_an_event_of_an_action_that_was_never_asked_for_or_has_not_left_is_refused() -> None:
    trial = trial_of(race, share=Limits(tokens=150), n=2)
    (a,) = ids(trial.start())
    with pytest.raises(InvalidParameter, match="cell/p was told of cell/p/77, which it never asked for"):
        trial.tell(done("cell/p/77"))
    with pytest.raises(InvalidParameter, match="told of cell/p/2, which"):
        trial.tell(done("cell/p/2"))
    trial.tell(done(a))
    assert trial.closed and trial.ledger.spent.samples == 1


def test_time_does_not_run_backwards() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        await run.generate(n=2)
        assert run.now_s == 9.0
        return run.candidates[0]

    trial = trial_of(strategy)
    a, b = ids(trial.start())
    trial.tell(done(a, at_s=9.0))
    trial.tell(done(b, at_s=3.0))
    assert trial.result.error is None


def test_depth_is_the_longest_chain_of_what_waited_for_one_another() -> None:
    async def chain(run: Run, *prompts: str) -> None:
        for prompt in prompts:
            await run.generate(prompt)

    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = await run.generate("first", n=3)
        await run.gather(chain(run, "a", "b"), chain(run, "c"))
        await run.verify(found[:2], "judge")
        async with run.finishing("race", n=2) as finishing:
            return await anext(finishing)

    tokens = {"first": [5, 9, 7], "a": [10], "b": [20], "c": [25], "race": [6, 50]}
    trial = trial_of(strategy)
    waiting = trial.start()
    while not trial.done:
        action = waiting.pop(0)
        assert isinstance(action, Generate | Verify)
        if isinstance(action, Verify):
            waiting += trial.tell(scored(action.id, 0.5, tokens=3))
            continue
        count = tokens[action.request.messages[-1].content].pop(0)
        waiting += trial.tell(done(action.id, tokens=count, seconds=count / 10))
    bill = trial.result.bill
    assert bill.sequential_tokens == 9 + (10 + 20) + 3 + 6
    assert bill.latency_s == pytest.approx(0.9 + 3.0 + 0.5 + 0.6)
    assert bill.busy_s == pytest.approx((5 + 9 + 7 + 10 + 20 + 25 + 6) / 10 + 2 * 0.5)


def test_the_same_events_give_the_same_actions() -> None:
    def actions() -> list[Action]:
        trial = trial_of(mixed)
        draw = random.Random(4)
        found = waiting = trial.start()
        while waiting:
            action = waiting.pop(draw.randrange(len(waiting)))
            told = trial.tell(end_of(action, draw))
            waiting = [w for w in waiting if w.id not in ids(told, Cancel)] + [a for a in told if type(a) is not Cancel]
            found = found + told
        return found

    assert actions() == actions()


# --- any order


async def mixed(problem: Problem, run: Run) -> Candidate:
    """Everything but races: whatever the order, the same work is done."""

    async def chain(number: int) -> list[Candidate]:
        found = await run.generate(f"chain {number}", n=2)
        found += await run.generate(f"chain {number}", continue_from=found[0])
        await run.verify(found, "judge", repeats=2)
        return found

    first, chains = await run.gather(run.generate("first", n=3), run.gather(chain(0), chain(1), chain(2)))
    await run.verify(first, "count")
    return (first + chains[0])[0]


async def hurried(problem: Problem, run: Run) -> Candidate:
    """Races, deadlines and failures, nested."""

    async def one(number: int) -> Candidate:
        async with run.finishing(f"race {number}", n=3) as finishing:
            return await anext(finishing)

    async def late() -> None:
        try:
            async with run.deadline(3.0):
                await run.generate("late", n=2)
        except DeadlineExceeded:
            pass

    async with run.finishing("outer", n=4) as outer:
        try:
            await run.gather(one(0), one(1), late())
        except* (AllFailed, BudgetExhausted, StopAsyncIteration, RuntimeError):
            pass
        await run.verify(run.candidates[:2], "judge")
        async for candidate in outer:
            return candidate
    return run.candidates[0]


def end_of(action: Action, draw: random.Random) -> End:
    """What an action ends with: a function of its id alone."""
    fate = random.Random(action.id)
    tokens = fate.randint(1, 20)
    if isinstance(action, Verify):
        return scored(action.id, fate.random(), tokens=0 if action.request is None else tokens)
    if isinstance(action, Sleep):
        return Woke(action.id, action.until_s)
    return done(action.id, text=f"Answer: {fate.randint(1, 3)}", tokens=tokens)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_the_order_of_arrival_changes_neither_the_bill_nor_the_number_of_ends(order: int) -> None:
    def through(draw: random.Random) -> Trial:
        trial = trial_of(mixed, share=Limits(tokens=1200))
        waiting = trial.start()
        ended: list[str] = []
        while waiting:
            action = waiting.pop(draw.randrange(len(waiting)))
            waiting += trial.tell(end_of(action, draw))
            ended.append(action.id)
            assert (trial.ledger.spent + trial.ledger.reserved).tokens <= 1200
        assert trial.closed and trial.result.error is None
        assert len(ended) == len(set(ended)) == 3 + 3 * (3 + 6) + 3
        return trial

    one, other = through(random.Random(order)).result, through(random.Random(0)).result
    assert (one.bill.total, one.bill.answers, one.bill.verifier) == (
        other.bill.total,
        other.bill.answers,
        other.bill.verifier,
    )
    assert one.bill.usage == other.bill.usage
    assert one.selected == other.selected
    assert {c.id for c in one.candidates} == {c.id for c in other.candidates}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.none() | st.integers(50, 1500), st.floats(0.0, 0.9))
def test_every_action_ends_once_and_every_token_is_on_the_bill_whatever_happens(
    seed: int, tokens: int | None, failures: float
) -> None:
    draw = random.Random(seed)
    trial = trial_of(hurried, share=Limits(tokens=tokens))
    waiting: dict[str, Work] = {}
    seen: set[str] = set()
    cancelled: set[str] = set()
    spent = requests = 0
    now = 0.0

    def take(actions: list[Action]) -> None:
        nonlocal requests
        for action in actions:
            if isinstance(action, Cancel):
                assert action.id in seen and action.id not in cancelled
                cancelled.add(action.id)
            else:
                assert action.id not in seen
                seen.add(action.id)
                waiting[action.id] = action
                requests += not isinstance(action, Sleep)

    take(trial.start())
    while waiting:
        id = draw.choice(sorted(waiting))
        action = waiting.pop(id)
        now += draw.random()
        used = 0 if isinstance(action, Sleep) else draw.randint(0, 20)
        event: End
        if id in cancelled and draw.random() < 0.8:
            event = gone(id, now, tokens=used)
        elif isinstance(action, Sleep):
            event = Woke(id, now)
        elif draw.random() < failures:
            event = failed(id, now, tokens=used)
        else:
            event = scored(id, 0.5, now, used) if isinstance(action, Verify) else done(id, now, tokens=used)
        spent += used
        take(trial.tell(event))
        if draw.random() < 0.2:
            take(trial.tell(event))
        if tokens is not None:
            assert (trial.ledger.spent + trial.ledger.reserved).tokens <= tokens
    assert trial.closed
    assert trial.ledger.reservations == {} and trial.ledger.overrun == Cost()
    assert trial.result.bill.total == trial.ledger.spent
    assert trial.ledger.spent.tokens == spent
    assert trial.ledger.spent.samples == requests


# --- what the module is


def test_the_kernel_does_not_know_of_asyncio() -> None:
    with open(tts.core.trials.trial.__file__) as file:
        tree = ast.parse(file.read())
    named = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    named |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in named} & {"asyncio", "time", "threading", "socket", "os"}
    loaded = "import sys, tts.core.trials.trial; print('asyncio' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, timeout=500, check=True)
    assert child.stdout.strip() == "False"


async def crashes(problem: Problem, run: Run) -> Candidate:
    async with run.deadline(9.0):
        await run.generate()
        raise ValueError("no")


async def spends(problem: Problem, run: Run) -> Candidate:
    run.fallback = lambda candidates, scores: majority(list(candidates), {})
    while True:
        await run.generate()


async def nested(problem: Problem, run: Run) -> Candidate:
    async def part(problem: Problem, run: Run) -> Candidate:
        return (await run.gather(*(run.solve(one) for _ in range(2))))[0]

    async def one(problem: Problem, run: Run) -> Candidate:
        await run.ask("Is it 4?")
        return (await run.generate())[0]

    return (await run.gather(run.solve(part, limits="samples=4"), run.solve(part, "How many?")))[0]


def freed_of(strategy: Strategy) -> int:
    """The number of objects that the garbage collector finds after a trial was run and dropped; the trial is none."""
    gc.collect()
    gc.disable()
    try:
        trial = trial_of(strategy, share=Limits(samples=60))
        waiting = trial.start()
        while not trial.done:
            action = waiting.pop(0)
            waiting += [a for a in trial.tell(end_of(action, random.Random(0))) if not isinstance(a, Cancel)]
        freed = weakref.ref(trial)
        del trial
        assert freed() is None
        return gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize("strategy", [race, mixed, hurried, crashes, spends, nested], ids=lambda s: s.__name__)
def test_a_trial_is_freed_as_soon_as_it_is_dropped(strategy: Strategy) -> None:
    """Not when the garbage collector gets round to it: trials hold all their texts."""
    freed_of(strategy)


def test_the_texts_of_parts_are_freed_with_their_trial() -> None:
    assert freed_of(nested) == 0


def test_no_coroutine_is_left_behind_unawaited() -> None:
    async def leaf(run: Run) -> None:
        await run.generate()

    async def inner(run: Run) -> None:
        await run.gather(*(leaf(run) for _ in range(3)))

    async def bad() -> None:
        raise ValueError("before its nephews have begun")

    async def strategy(problem: Problem, run: Run) -> Candidate:
        await run.gather(bad(), inner(run), inner(run))
        raise AssertionError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trial = trial_of(strategy)
        asked = trial.start()
        assert trial.closed and asked == []
        abandoned = trial_of(hurried)
        abandoned.start()
        del trial, abandoned
        gc.collect()
    assert [str(w.message) for w in caught] == []


def test_a_strategy_that_swallows_every_refusal_is_stopped_and_keeps_nothing_running() -> None:
    async def stubborn(problem: Problem, run: Run) -> Candidate:
        while True:
            with contextlib.suppress(BudgetExhausted):
                await run.generate()

    trial = Trial("c/p", Problem("p", "?"), stubborn, StrategySpec("stubborn"), costs=CostModel(),
                    share=Limits(samples=1))  # fmt: skip
    (first,) = trial.start()
    trial.tell(Finished(first.id, 1.0, Completion("Answer: 1")))
    assert trial.closed
    assert trial.result.error is not None
    assert "must stop at BudgetExhausted" in trial.result.error.message


def test_equal_samplings_draw_equal_samples_however_they_were_made() -> None:
    def seeds(sampling: Sampling) -> list[int]:
        async def one(problem: Problem, run: Run) -> Candidate:
            return (await run.generate())[0]

        trial = Trial("c/p", Problem("p", "?"), one, StrategySpec("one"), costs=CostModel(), sampling=sampling)
        return [action.request.seed for action in trial.start() if isinstance(action, Generate)]

    made = Sampling(temperature=float("0.7"), max_tokens=int("512"))
    assert seeds(made) == seeds(Sampling(max_tokens=512)) == seeds(pickle.loads(pickle.dumps(made)))
    assert seeds(Sampling(temperature=1)) == seeds(Sampling(temperature=1.0))
