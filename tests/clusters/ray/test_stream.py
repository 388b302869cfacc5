"""What actors and their driver say to each other in bytes, over a network that loses, repeats and delays."""

import itertools
import tracemalloc
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.clusters.ray.stream import MOST_BYTES, ActorEvent, Begun, Inbox, Outbox, Stalled, batches, unpacked
from tts.core.actions import (
    Action,
    Call,
    Cancel,
    Cancelled,
    Count,
    Counted,
    End,
    Event,
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
)
from tts.errors import TTSError
from tts.types import (
    Candidate,
    Completion,
    ErrorInfo,
    LogprobSummary,
    Message,
    Problem,
    Sampling,
    Score,
    Timing,
    TokenLogprob,
    Usage,
)

MEGABYTE = 1_000_000
RAYS_LIMIT = 100 * 1024  # beyond it, a value goes through Ray's object store

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
texts = st.text(max_size=20) | st.integers(1, 5000).map(lambda n: "é\n" * n)
ids = st.sampled_from(["c0/p0/1", "c0/p0/5.0.2", "c1/p 1/3~"])
finite = st.floats(0, 1e9)
usages = st.builds(Usage, *[st.integers(0, 2**40)] * 4, st.booleans())
timings = st.builds(Timing, finite, st.none() | finite)
errors = st.builds(ErrorInfo, st.sampled_from(["ServerFailed", "ValueError"]), texts, st.just({"status": 500}))
logprobs = st.builds(
    LogprobSummary,
    st.floats(-99, 0),
    st.floats(-99, 0),
    st.none() | finite,
    st.lists(st.builds(TokenLogprob, texts, st.floats(-9, 0), st.just((("a", -1.5),))), max_size=2).map(tuple),
)
completions = st.builds(
    Completion, texts, st.sampled_from(["stop", "length", "deadline"]), usages, timings, texts, st.none() | logprobs
)
scores = st.builds(Score, st.none() | st.floats(0, 1), st.just("judge"), text=texts)
ends: st.SearchStrategy[End] = st.one_of(
    st.builds(Finished, ids, finite, completions),
    st.builds(Scored, ids, finite, scores, usages, timings),
    st.builds(Returned, ids, finite, plain, timings),
    st.builds(Woke, ids, finite),
    st.builds(Counted, ids, finite, st.none() | st.integers(0, 2**20)),
    st.builds(Failed, ids, finite, errors, usages, timings),
    st.builds(Cancelled, ids, finite, completions),
    st.builds(Refused, ids, finite, errors),
)
told: st.SearchStrategy[ActorEvent] = st.one_of(
    ends,
    st.builds(Progressed, ids, finite, texts, st.integers(0, 9), st.integers(0, 9), st.none() | st.floats(-9, 0)),
    st.builds(Stalled, ids),
    st.builds(Begun, ids),
)
messages = st.lists(st.builds(Message, st.just("user"), texts), min_size=1, max_size=2).map(tuple)
samplings = st.builds(Sampling, finite, stop=st.just(("\n",)), max_tokens=st.integers(1, 2**20))
requests = st.builds(
    Request, messages, samplings, st.integers(0, 2**31 - 1), texts, st.none() | st.just("m"), st.none() | finite
)
problems = st.builds(Problem, st.just("p0"), texts, facts=st.dictionaries(st.text(max_size=3), plain, max_size=2))
candidates = st.builds(Candidate, ids, texts, st.none() | texts, completions)
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(Generate, ids, requests, st.none() | st.just("key")),
    st.builds(Verify, ids, st.just("judge"), problems, candidates, st.none() | requests, st.none() | st.just("key")),
    st.builds(Call, ids, st.just("m:f"), st.lists(plain, max_size=3).map(tuple), finite),
    st.builds(Sleep, ids, finite),
    st.builds(Count, ids, requests, st.booleans()),
    st.builds(Cancel, ids),
)


def drained(outbox: Outbox, inbox: Inbox, most_bytes: int = MOST_BYTES) -> list[ActorEvent]:
    """Everything that is left, over a network that does its duty."""
    got: list[ActorEvent] = []
    while data := outbox.after(inbox.place, most_bytes):
        assert len(data) <= most_bytes
        got += inbox.take(inbox.place, data)
    return got


# --- events, back to the driver

long_ones = st.sampled_from([3, 500, MOST_BYTES - 60, MOST_BYTES, MEGABYTE]).map(
    lambda size: Finished("c0/p0/1", float(size), Completion("é" * (size // 2)))
)
puts = st.tuples(st.just("put"), told)
steps = st.lists(
    puts | puts | st.tuples(st.sampled_from(["ask", "ask", "deliver", "repeat", "lose"]), st.integers(0, 99)),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(steps, st.sampled_from([1, 7, 100, 1000, MOST_BYTES]), st.sampled_from([None, 1, 2, 5]))
def test_whatever_is_lost_late_or_repeated_every_event_arrives_once_and_in_order(
    steps: list[tuple[str, Any]], most_bytes: int, most_events: int | None
) -> None:
    outbox, inbox = Outbox(), Inbox()
    put: list[ActorEvent] = []
    got: list[ActorEvent] = []
    under_way: list[tuple[int, bytes]] = []  # replies
    for what, value in steps:
        if what == "put":
            outbox.put(value)
            put.append(value)
        elif what == "ask":
            data = outbox.after(inbox.place, most_bytes, most_events)
            assert len(data) <= most_bytes
            under_way.append((inbox.place, data))
        elif under_way:
            reply = under_way[value % len(under_way)]
            if what != "lose":
                got += inbox.take(*reply)
            if what != "repeat":
                under_way.remove(reply)
        assert got == put[: len(got)]
    got += drained(outbox, inbox, most_bytes)
    assert got == put
    assert len(outbox) == 0
    for reply in under_way:  # whatever still turns up
        assert inbox.take(*reply) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(long_ones, max_size=6), st.integers(1000, MOST_BYTES), st.randoms(use_true_random=False))
def test_events_of_a_megabyte_come_in_pieces_of_which_any_may_be_lost_or_repeated(
    events: list[Event], most_bytes: int, draw: Any
) -> None:
    outbox, inbox = Outbox(), Inbox()
    for event in events:
        outbox.put(event)
    got: list[ActorEvent] = []
    late: list[tuple[int, bytes]] = []
    while data := outbox.after(inbox.place, most_bytes):
        assert len(data) <= most_bytes
        late.append((inbox.place, data))
        if draw.random() < 0.7:
            got += inbox.take(inbox.place, data)
        if draw.random() < 0.5:
            got += inbox.take(*draw.choice(late))
    assert got == events


def test_a_reply_stays_below_what_ray_passes_without_its_object_store() -> None:
    assert MOST_BYTES + 1024 < RAYS_LIMIT
    outbox = Outbox()
    outbox.put(Finished("c0/p0/1", 0.0, Completion("x" * MEGABYTE)))
    assert len(outbox.after(0)) <= MOST_BYTES


@given(st.integers(0, 20), st.integers(1, 9), st.integers(0, 19))
def test_a_reply_ends_after_so_many_events_wherever_it_begins(events: int, most_events: int, known: int) -> None:
    outbox, inbox = Outbox(), Inbox()
    for number in range(events):
        outbox.put(Woke(f"c0/p0/{number}", 0.0))
    assert outbox.events == events
    inbox.take(0, outbox.after(0, most_events=max(1, known)) if known else b"")
    heard = inbox.take(inbox.place, outbox.after(inbox.place, most_events=most_events))
    assert len(heard) == min(most_events, max(0, events - known))
    assert outbox.events == max(0, events - known)


def test_what_is_acknowledged_is_forgotten_on_both_sides() -> None:
    outbox, inbox = Outbox(), Inbox()

    def talk(times: int) -> None:
        for number in range(times):
            outbox.put(Finished("c0/p0/1", float(number), Completion("x" * MEGABYTE)))
            assert [event.at_s for event in drained(outbox, inbox) if isinstance(event, Finished)] == [number]

    talk(1)
    tracemalloc.start()
    try:
        talk(60)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(outbox) == 0
    assert now < MEGABYTE
    assert peak < 12 * MEGABYTE


def test_what_is_not_acknowledged_is_kept_however_often_it_is_sent() -> None:
    outbox = Outbox()
    events = [Woke(f"c0/p0/{i}", float(i)) for i in range(5)]
    for event in events:
        outbox.put(event)
    first = outbox.after(0)
    assert [outbox.after(0) for _ in range(3)] == [first] * 3
    assert Inbox().take(0, first) == events
    assert outbox.after(len(first)) == b""


def test_a_place_that_cannot_be_is_refused_and_nothing_is_lost_of_it() -> None:
    outbox, inbox = Outbox(), Inbox()
    outbox.put(Woke("c0/p0/1", 1.0))
    size = len(outbox)
    with pytest.raises(ValueError, match=f"asked for byte {size + 1}, but holds 0 to {size}"):
        outbox.after(size + 1)
    with pytest.raises(ValueError, match="asked for byte -1"):
        outbox.after(-1)
    with pytest.raises(ValueError, match="begins at byte 3, but only 0 are here"):
        inbox.take(3, b"x")
    assert drained(outbox, inbox) == [Woke("c0/p0/1", 1.0)]
    with pytest.raises(ValueError, match=f"asked for byte 0, but holds {size} to {size}"):
        outbox.after(0)  # a request that was itself late: what it asks for is there already
    outbox.put(Woke("c0/p0/2", 2.0))
    assert drained(outbox, inbox) == [Woke("c0/p0/2", 2.0)]


@pytest.mark.parametrize(
    "facts",
    [{}, {"any": object()}, {"text": "\udc80"}, {"large": 2**70, "any": object()}],
    ids=["no facts", "an object", "half a character", "a large integer and an object"],
)
@pytest.mark.parametrize("message", ["it is broken", "a file named \udc80"])
def test_an_error_that_cannot_be_encoded_ends_its_action_all_the_same(facts: dict[str, Any], message: str) -> None:
    outbox, inbox = Outbox(), Inbox()
    outbox.put(Woke("c0/p0/1", 0.0))
    outbox.put(Failed("c0/p0/2", 3.0, ErrorInfo("ValueError", message, facts), Usage(5, 7), Timing(2.0)))
    outbox.put(Woke("c0/p0/3", 0.0))
    first, failed, last = drained(outbox, inbox)
    assert (first, last) == (Woke("c0/p0/1", 0.0), Woke("c0/p0/3", 0.0))
    assert isinstance(failed, Failed)
    assert (failed.id, failed.at_s, failed.usage, failed.timing) == ("c0/p0/2", 3.0, Usage(5, 7), Timing(2.0))
    assert failed.error.type == "ValueError"
    assert failed.error.message == message.encode("ascii", "backslashreplace").decode()
    assert isinstance(failed.error.rebuild(), TTSError)


def test_a_value_that_cannot_be_encoded_is_its_actions_failure() -> None:
    outbox, inbox = Outbox(), Inbox()
    outbox.put(Returned("c0/p0/1", 1.0, object()))
    outbox.put(Finished("c0/p0/2", 1.0, Completion("\ud800", usage=Usage(3, 4))))
    outbox.put(Progressed("c0/p0/3", 1.0, "\ud800", 0, 1))  # no end: it can be spared
    returned, finished = drained(outbox, inbox)
    assert isinstance(returned, Failed) and isinstance(finished, Failed)
    assert (returned.id, returned.error.type) == ("c0/p0/1", "TypeError")
    assert (finished.id, finished.usage) == ("c0/p0/2", Usage(3, 4))


# --- actions, to the actor


def slim(action: Action) -> Any:
    """What of an action the actor needs."""
    if isinstance(action, Verify) and action.request is not None:
        return action.id, action.verifier, action.request, action.share
    return action


@settings(max_examples=200, deadline=None)
@given(st.lists(actions, max_size=30))
def test_every_kind_of_action_survives_the_journey_in_its_order(actions: list[Action]) -> None:
    there = [action for batch in packed(actions) for action in unpacked(batch)]
    assert list(map(type, there)) == list(map(type, actions))
    assert list(map(slim, there)) == list(map(slim, actions))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([1, 100, 20_000, MOST_BYTES // 2, MOST_BYTES, MEGABYTE]), max_size=40))
def test_batches_are_few_and_none_is_longer_than_it_must_be(sizes: list[int]) -> None:
    actions = [Generate(f"c0/p0/{i}", Request((Message("user", "x" * n),))) for i, n in enumerate(sizes)]
    found = packed(actions)
    lengths = [len(unpacked(batch)) for batch in found]
    assert sum(lengths) == len(actions) and 0 not in lengths
    for batch, count in zip(found, lengths, strict=True):
        assert count == 1 or len(batch) < RAYS_LIMIT
    for batch, after in itertools.pairwise(found):
        (first,) = packed(unpacked(after)[:1])
        assert len(batch) + len(first) > MOST_BYTES, "both would have fitted into one"


def test_a_crowd_of_the_smallest_actions_stays_within_the_limit_too() -> None:
    crowd: list[Action] = [Cancel("") for _ in range(20_000)]
    found = packed(crowd)
    assert max(map(len, found)) < RAYS_LIMIT
    assert [action for batch in found for action in unpacked(batch)] == crowd


def packed(actions: Iterable[Action]) -> list[bytes]:
    found, failed = batches(actions)
    assert not failed
    return found


def test_one_action_that_nothing_can_encode_does_not_hold_up_the_others() -> None:
    good, bad = Call("c0/p0/1", "m:f", (1,), 1.0), Call("c0/p0/2", "m:f", (object(),), 1.0)
    found, failed = batches([good, bad, good])
    assert [action for batch in found for action in unpacked(batch)] == [good, good]
    ((id, error),) = failed
    assert id == bad.id and isinstance(error, TypeError)


def test_no_actions_are_no_batches() -> None:
    assert packed([]) == []
    assert packed(iter(())) == []


def test_a_verification_that_asks_a_model_carries_its_candidate_once() -> None:
    said, asked = "a text of its own", "a question of its own"
    problem = Problem("p0", asked)
    candidate = Candidate("c0/p0/1", said, "5", Completion(said, logprobs=LogprobSummary(-1.0, -2.0)))
    request = Request((Message("user", f"{asked} {said}"),))
    (batch,) = packed([Verify("c0/p0/2", "judge", problem, candidate, request)])
    assert (batch.count(said.encode()), batch.count(asked.encode())) == (1, 1)

    computes = Verify("c0/p0/2", "length", problem, candidate)
    (batch,) = packed([computes])
    assert unpacked(batch) == [computes]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**200, [{"n": -(2**90)}]], ids=str)
def test_integers_of_any_size_pass_in_both_directions(value: Any) -> None:
    outbox, inbox = Outbox(), Inbox()
    outbox.put(Returned("c0/p0/1", 0.0, value))
    assert drained(outbox, inbox) == [Returned("c0/p0/1", 0.0, value)]
    call = Call("c0/p0/1", "m:f", (value, "é"), 1.0)
    cancel = Cancel("c0/p0/1")
    found: Sequence[Action] = [action for batch in packed([cancel, call, cancel]) for action in unpacked(batch)]
    assert found == [cancel, call, cancel]
