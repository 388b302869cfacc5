"""One response under way: what it costs is what was seen of it, and it has bounds."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import virtual_time
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tts.errors import BadResponse, EndpointError, ServerFailed, TimedOut
from tts.models.openai.chunking import Chunking
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.reading import Reader, Silence, Silences, most_bytes
from tts.models.wire.sse import decode
from tts.types import Usage

LIMIT = 50


def said(text: str, finish: Any = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}


END: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def usage(**counts: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": 9, **counts}}


def read(*events: Any, limit: int = LIMIT, cut: int = 1 << 30, chunking: Chunking | None = None) -> CompletionBuilder:
    """What a client makes of these events, sent in pieces of `cut` bytes."""
    builder = CompletionBuilder()
    builder.max_tokens, builder.most_prompt = limit, 9
    builder.chunking = chunking or Chunking()

    async def main() -> None:
        builder.begin(0.0)
        reader = reader_of(builder, limit)
        data = b"".join(b"data: %s\n\n" % (e if isinstance(e, bytes) else json.dumps(e).encode()) for e in events)
        try:
            for at in range(0, len(data), cut):
                reader.feed(data[at : at + cut])
            reader.close()
        finally:
            builder.stop(1.0)

    asyncio.run(main())
    return builder


def reader_of(builder: CompletionBuilder, limit: int = LIMIT, *, most: int = 1 << 20, watched: Any = None) -> Reader:
    return Reader(builder, "http://here", limit=limit, most_bytes=most, on_progress=watched)


def tokens(*events: Any, **how: Any) -> tuple[int, bool]:
    counted = read(*events, **how).usage()
    return counted.completion_tokens, counted.approximate


# -- usage is believed as far as it was seen ----------------------------------------------------------------------

WORDS = [said(f"word{i:02} ") for i in range(20)]


@pytest.mark.parametrize("lie", [0, -1, 1, 5, 10**9, 2**63, 10**40, True, None, "many", [20], 19.5])
def test_a_count_that_the_stream_does_not_bear_out_gives_way_to_our_own(lie: Any) -> None:
    assert tokens(*WORDS, END, usage(completion_tokens=lie)) == (20, True)


@pytest.mark.parametrize("truth", [20, 21, 45, 20.0, "21"])
def test_a_count_that_the_stream_bears_out_is_the_servers(truth: Any) -> None:
    assert tokens(*WORDS, END, usage(completion_tokens=truth)) == (int(truth), False)


@pytest.mark.parametrize(
    ("pieces", "lie", "least"),
    [
        ([" word1 word2"] * 20, 20, 40),  # two tokens a chunk, one of them counted
        (["I am he as you are he "] * 5, 12, 35),  # 2.9 characters a token
        (["one\ntwo\nthree\n"] * 9, 26, 27),
    ],
)
def test_a_count_of_fewer_tokens_than_words_is_not_believed(pieces: list[str], lie: int, least: int) -> None:
    booked, approximate = tokens(*map(said, pieces), END, usage(completion_tokens=lie), limit=900)
    assert approximate
    assert booked >= least


@pytest.mark.parametrize(
    "text",
    [
        " extraordinarily" * 20,
        "数学の問題を解きます。" * 5,
        "\n                                return\n\n" * 8,
        "================" * 20,
        "one two  three\n\n   four ",
        "x\u3000y\u00a0z" * 4,
    ],
)
@pytest.mark.parametrize("a_chunk", [1, 4])
def test_a_count_of_honest_tokens_is_believed_however_long_they_are(text: str, a_chunk: int) -> None:
    length = {"e": 16, "=": 16}.get(text[1], 0)
    pieces = re.findall(rf".{{{length}}}" if length else r"\s+\S|\S\S?", text, re.DOTALL)
    chunks = ["".join(pieces[at : at + a_chunk]) for at in range(0, len(pieces), a_chunk)]
    counted = tokens(*map(said, chunks), END, usage(completion_tokens=len(pieces)), limit=900)
    assert counted == (len(pieces), False)


def test_chunks_may_be_less_than_a_token_and_tokens_are_not_longer_than_words_are() -> None:
    letters = [said(letter) for letter in "the quick brown fox jumps over it"]
    assert tokens(*letters, END, usage(completion_tokens=8)) == (8, False)
    assert tokens(*letters, END, usage(completion_tokens=2)) == (33, True)


def test_letters_are_read_to_their_end_though_they_are_more_than_the_tokens_allowed() -> None:
    letters = [said(letter) for letter in "the quick brown fox jumps over the lazy dog"]
    builder = read(*letters, END, usage(completion_tokens=12), limit=40)
    assert (len(builder.text), builder.overran, builder.usage()) == (43, False, Usage(9, 12))
    endless = read(*(letters * 9), limit=40)
    assert endless.overran
    assert len(endless.text) <= 8 * 40


def test_a_server_that_ignores_max_tokens_is_believed_to_have_done_so_as_far_as_its_text_is_long_enough() -> None:
    text = said("many words in a single chunk, more than there should be ")
    assert tokens(text, END, usage(completion_tokens=11), limit=5) == (11, False)
    assert tokens(text, END, usage(completion_tokens=400), limit=5) == (10, True)  # 56 characters


@pytest.mark.parametrize(
    ("counts", "generated", "reasoning"),
    [
        ({"completion_tokens": 3, "total_tokens": 42, "completion_tokens_details": {"reasoning_tokens": 30}}, 33, 30),
        ({"completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 30}}, 33, 30),
        ({"completion_tokens": 33, "total_tokens": 42, "completion_tokens_details": {"reasoning_tokens": 30}}, 33, 30),
        ({"completion_tokens": 3, "total_tokens": 42}, 33, 0),
        ({"total_tokens": 42}, 33, 0),
        (
            {"completion_tokens": 3, "total_tokens": 912, "completion_tokens_details": {"reasoning_tokens": 900}},
            903,
            900,
        ),
        ({"completion_tokens": 3, "total_tokens": 42, "prompt_tokens_details": {"cached_tokens": 30}}, 3, 0),
        ({"completion_tokens": 3, "total_tokens": 10**12}, 3, 0),
    ],
    ids=[
        "beside",
        "more than all",
        "among",
        "in the total only",
        "the total only",
        "past the limit",
        "cached",
        "absurd",
    ],
)
def test_reasoning_that_is_counted_beside_the_completion_is_booked(
    counts: dict[str, Any], generated: int, reasoning: int
) -> None:
    booked = read(said("42"), END, usage(**counts)).usage()
    assert (booked.completion_tokens, booked.reasoning_tokens) == (generated, reasoning)


def test_a_long_text_in_few_chunks_without_any_count_is_not_one_token_a_chunk() -> None:
    booked, approximate = tokens(said("The answer is forty-two, and here is why. " * 3), END, limit=900)
    assert approximate
    assert 28 <= booked <= 60  # 126 characters


def test_what_is_finished_has_cost_a_token_at_least_so_that_an_open_number_of_samples_ends() -> None:
    builder = read(END, usage(completion_tokens=0))
    builder.charge_at_least_one()
    assert builder.usage().completion_tokens == 1


def test_a_server_that_counts_with_every_chunk_and_then_not_is_believed_so_far_and_counted_on() -> None:
    two, four = ({"completion_tokens": n} for n in (2, 4))
    assert tokens(said("a b ", usage=two), said("c d "), END)[0] == 4
    assert tokens(said("a ", usage={"completion_tokens": 1}), said("b ", usage=two), said("c"), END)[0] == 3
    assert tokens(said("ab ", usage=two), said("cd ", usage=four), *[said("ef ")] * 3, END)[0] == 10


# -- what a cancelled stream may still have decoded ---------------------------------------------------------------


def cancelled(*events: Any, chunks: int, chunking: Chunking | None = None, first_alone: bool = False) -> int:
    builder = read(*events, limit=600, chunking=chunking)
    builder.charge_in_flight(chunks, first_alone)
    return builder.completion("cancelled").usage.completion_tokens


def learned(*streams: tuple[int, int]) -> Chunking:
    chunking = Chunking()
    for counted, chunks in streams:
        chunking.learn(counted, chunks)
    return chunking


def test_chunks_in_flight_are_charged_at_the_tokens_a_chunk_that_finished_streams_had() -> None:
    big = [said("w " * 40)] * 3
    assert cancelled(*big, chunks=2, chunking=learned((402, 11))) >= 5 * 40
    assert cancelled(*WORDS, chunks=2, chunking=learned((31, 30))) == 22
    assert cancelled(*WORDS, chunks=2, chunking=learned((31, 30), (402, 11))) > 22  # the most that was seen


def test_a_stream_that_is_counted_as_it_comes_needs_no_other() -> None:
    big = [said("w " * 40, usage={"completion_tokens": 40 * i}) for i in (1, 2, 3)]
    assert cancelled(*big, chunks=2) == 5 * 40


def test_where_nothing_is_known_of_an_endpoints_chunks_the_reservation_is_charged_in_full() -> None:
    assert cancelled(*WORDS, chunks=2) == 600
    assert cancelled(chunks=2) == 600
    assert cancelled(chunks=2, first_alone=True) == 2  # of this kind of engine it is known
    assert cancelled(*WORDS, chunks=2, chunking=learned((2, 1))) == 600  # one short answer shows nothing
    one = said("a", usage={"completion_tokens": 1})
    assert cancelled(one, chunks=2) == 600  # its first token may have come alone
    assert cancelled(one, chunks=2, first_alone=True) == 1 + 2 * 16
    assert cancelled(one, said("b", usage={"completion_tokens": 2}), chunks=2) == 4
    assert cancelled(*WORDS, chunks=2, chunking=learned((4, 3))) == 600  # two tokens in the second chunk, perhaps


def test_the_most_tokens_a_chunk_that_counts_have_shown_is_what_a_chunk_under_way_is_charged() -> None:
    counts = [1, 2, 3, 7, 8, 9, 10]
    assert cancelled(*(plain_event(n, "a ", 0, 0) for n in counts), chunks=2) == 10 + 2 * 4


def test_a_stream_that_broke_before_its_end_was_said_is_charged_with_the_chunk_that_was_begun() -> None:
    builder = read(*(plain_event(n, "a ", 0, 0) for n in (1, 4, 7)), b"[DONE]", limit=600)
    builder.charge_in_full()
    assert builder.usage().completion_tokens == 7 + 2


def test_what_is_in_flight_is_never_charged_beyond_the_reservation_nor_after_the_end() -> None:
    assert cancelled(*WORDS, chunks=10_000, chunking=learned((31, 30))) == 600
    assert cancelled(*WORDS, END, usage(completion_tokens=20), chunks=8) == 20
    assert cancelled(*WORDS, b"[DONE]", chunks=8, chunking=learned((31, 30))) == 20


# -- odd streams --------------------------------------------------------------------------------------------------


def test_empty_events_are_heartbeats_and_blanks_around_done_are_none() -> None:
    builder = read(b"", said("a"), b"  ", b"ping", said("b"), b'"alive"', b"7", END, b" [DONE] ")
    assert (builder.text, builder.done) == ("ab", True)


@pytest.mark.parametrize("finish", ["stop", {"type": "stop"}])
def test_a_finish_reason_with_every_chunk_is_no_end_and_one_that_comes_once_is(finish: Any) -> None:
    everywhere = [said("a", finish), said("b", finish)]
    assert not read(*everywhere[:1]).ended
    assert not read(*everywhere).ended
    assert not read(*everywhere).finished
    assert read(*everywhere, END).ended
    assert read(said("a"), said("b", finish)).ended
    assert read(*everywhere, b"[DONE]").ended


@pytest.mark.parametrize("finish", ["", "null", "None"])
def test_a_finish_reason_that_says_none_is_none(finish: str) -> None:
    assert read(said("a", finish)).finish is None


def test_a_refusal_is_an_answer_that_was_paid() -> None:
    no = {"choices": [{"delta": {"content": None, "refusal": "I must not."}}]}
    builder = read(no, END, usage(completion_tokens=4))
    assert (builder.declined, builder.text, builder.usage()) == (True, "I must not.", Usage(9, 4))


@pytest.mark.parametrize("nothing", [None, {}, "", [], False])
def test_an_empty_error_beside_text_is_none(nothing: Any) -> None:
    assert read(said("a", error=nothing), END).text == "a"


def test_an_error_beside_text_is_raised_when_the_text_has_been_counted() -> None:
    with pytest.raises(ServerFailed, match="after 2 tokens: out of memory"):
        read(said("a"), said("b", error={"message": "out of memory"}), said("c"))


@pytest.mark.parametrize(
    "late", [{"error": {"message": "too late"}}, b"<html>", {"object": "error", "message": "late"}]
)
def test_an_error_after_the_end_takes_nothing_away(late: Any) -> None:
    assert read(said("a"), END, late).text == "a"


@pytest.mark.parametrize(
    "bare",
    [{"message": "engine died", "code": 500}, {"object": "error", "message": "engine died"}, {"detail": "engine died"}],
)
def test_an_error_that_is_not_wrapped_is_one(bare: Any) -> None:
    with pytest.raises(ServerFailed, match="engine died"):
        read(said("a"), bare)


@pytest.mark.parametrize("finish", ["stop", None])
def test_one_body_of_json_in_place_of_a_stream_is_the_whole_completion(finish: str | None) -> None:
    body = b'  {"choices": [{"message": {"content": "42"}, "finish_reason": %s}]}' % json.dumps(finish).encode()

    async def main() -> CompletionBuilder:
        builder = CompletionBuilder()
        builder.begin(0.0)
        reader = reader_of(builder)
        for byte in body:
            reader.feed(bytes([byte]))
        reader.close()
        return builder

    whole = asyncio.run(main())
    assert (whole.text, whole.finish, whole.ended) == ("42", "stop", True)


PIECES = st.sampled_from(["seven77 ", "a longer piece of text ", "数学の問題を解きます ", "", "\ud83d"])
COUNTS = st.none() | st.booleans() | st.integers(-10, 200) | st.sampled_from([2**63, 10**30, 12.0, "40", [], {}, 0.5])
ODD = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "delta": st.none() | st.fixed_dictionaries({}, optional={"content": PIECES, "reasoning": PIECES}),
                    "finish_reason": st.sampled_from([None, "", "stop", "length", 7]),
                    "logprobs": st.sampled_from([None, [], {"content": [{"token": "a", "logprob": -1e308}]}]),
                    "index": COUNTS,
                },
            ),
            max_size=2,
        ),
        "usage": st.none()
        | st.fixed_dictionaries(
            {}, optional={"prompt_tokens": COUNTS, "completion_tokens": COUNTS, "total_tokens": COUNTS}
        ),
        "timings": st.none() | st.fixed_dictionaries({}, optional={"predicted_n": COUNTS, "prompt_n": COUNTS}),
        "error": st.sampled_from([None, {}, "", {"message": "no"}, "no", [1]]),
    },
)
EVENTS = st.lists(ODD | st.sampled_from([b"", b"[DONE]", b"null", b"{}", b"[]", b'{"choices":[{"del']), max_size=12)


PLAIN = st.tuples(
    st.sampled_from(["seven77 ", "a longer piece of text ", "a", "数学", "\n", "b", "c", "d", "", "\ud83d"]),
    st.sampled_from([*[0] * 12, 1]),
    st.sampled_from([*[0] * 9, 2, 3, -1, None]),
)


def plain_event(at: int, text: str, index: int, off: int | None) -> dict[str, Any]:
    """An event with a piece of the text, and with a count that is off by so many tokens; None: without one."""
    event = {"model": "m", "choices": [{"index": index, "delta": {"content": text}}]}
    if off is None:
        return event
    total = at + off + (10 if off == 3 else 9)
    return {**event, "usage": {"prompt_tokens": 9, "completion_tokens": at + off, "total_tokens": total}}


def state_of(builder: CompletionBuilder) -> dict[str, Any]:
    """All that is known of a completion, its text in one piece."""
    known = {name: value for name, value in vars(builder).items() if name not in ("_texts", "_meter", "chunking")}
    return {**known, "text": builder.text, "logprobs": builder.completion("stop").logprobs}


@settings(derandomize=True, max_examples=250, deadline=None)
@example([("a", 0, 0), ("b", 0, 2), ("c", 0, None), ("d", 0, None)], 50, True, None)
@given(
    st.lists(st.one_of(*[PLAIN] * 20, ODD, st.sampled_from([b"[DONE]", b": ping", END])), min_size=4, max_size=12),
    st.sampled_from([3, 9, 50]),
    st.booleans(),
    st.sampled_from([None, (30, 30), (402, 11)]),
)
def test_a_stream_is_read_alike_in_one_piece_piece_by_piece_and_watched(
    drawn: list[Any], limit: int, counts: bool, learned: tuple[int, int] | None
) -> None:
    data = []
    for at, event in enumerate(drawn, 1):
        if isinstance(event, tuple):
            event = plain_event(at, *event if counts else (*event[:2], None))  # noqa: PLW2901
        data.append(b"data: %s\n\n" % (event if isinstance(event, bytes) else json.dumps(event).encode()))

    def ends(pieces: list[bytes], watched: Any) -> tuple[Any, Any]:
        builder, failure = CompletionBuilder(), None
        builder.max_tokens = limit
        if learned:
            builder.chunking.learn(*learned)

        async def main() -> None:
            builder.begin(0.0)
            reader = reader_of(builder, limit, watched=watched)
            reader._loop = Stopped()
            for piece in pieces:
                reader.feed(piece)
                if builder.overran or reader.goes_on:
                    return
            reader.close()

        try:
            asyncio.run(main())
        except EndpointError as error:
            failure = type(error), error.message
        return state_of(builder), failure

    watched = ends(data, lambda *_: None)
    assert ends(data, None) == watched
    in_one_piece = ends([b"".join(data)], None)
    assert in_one_piece == ends([b"".join(data)], lambda *_: None)
    if watched[1] is None and not watched[0]["overran"] and not watched[0]["done"]:
        assert in_one_piece == watched


class Stopped:
    """A loop whose clock stands still."""

    def time(self) -> float:
        return 1.0


@settings(derandomize=True, max_examples=400, deadline=None)
@given(EVENTS, st.sampled_from([1, 7, 64, 1 << 20]), st.sampled_from([None, (402, 11), (31, 30)]), st.booleans())
def test_any_stream_ends_or_raises_an_endpoint_error_and_books_what_was_seen_and_no_more_than_it_can_have_cost(
    events: list[Any], cut: int, habit: tuple[int, int] | None, closed_early: bool
) -> None:
    builder = CompletionBuilder()
    builder.max_tokens, builder.chunking = LIMIT, learned(habit) if habit else Chunking()

    async def main() -> None:
        builder.begin(0.0)
        reader = reader_of(builder)
        data = b"".join(b"data: %s\n\n" % (e if isinstance(e, bytes) else json.dumps(e).encode()) for e in events)
        for at in range(0, len(data), cut):
            reader.feed(data[at : at + cut])

    try:
        asyncio.run(main())
    except EndpointError as error:
        assert error.message
    if closed_early:
        builder.charge_in_full()
        builder.charge_in_flight(2)
    builder.stop(1.0)
    booked = builder.completion("cancelled").usage
    assert booked.completion_tokens >= builder.chunks  # each piece is longer than the longest token of the mean
    longest = len((builder.text + builder.reasoning).encode())
    in_flight = 2 * 41 if builder.overran else 0
    assert booked.completion_tokens <= max(LIMIT, longest, builder.tokens if builder.overran else 0) + in_flight
    assert 0 <= booked.reasoning_tokens <= booked.completion_tokens < 2**63
    assert 0 <= booked.cached_tokens <= booked.prompt_tokens < 2**63


# -- bounds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beginning", [b": a comment\n", b'{"choices": [{}, '])
def test_a_reply_is_read_as_far_as_its_tokens_can_be_long_and_then_refused(beginning: bytes) -> None:
    async def main() -> None:
        builder = CompletionBuilder()
        reader = reader_of(builder, most=1000)
        reader.feed(beginning + b" " * 900)
        with pytest.raises(BadResponse, match="more than 1000 bytes"):
            reader.feed(b" " * 900)

    asyncio.run(main())
    assert most_bytes(100, 0) < 5e6 < most_bytes(16_384, 0) < most_bytes(16_384, 20) < 1.1e8


@pytest.mark.parametrize("hears", [lambda silence: silence.heard(), lambda silence: silence.allow(60.0)])
def test_nothing_that_is_heard_makes_a_request_last_longer_than_it_may(hears: Callable[[Silence], None]) -> None:
    async def main() -> None:
        with Silence(Silences(), "http://here", None, 60.0, 0.05) as silence:
            while True:
                hears(silence)
                await asyncio.sleep(0.001)

    with pytest.raises(TimedOut, match="had not finished a request") as caught:
        asyncio.run(asyncio.wait_for(main(), 60))
    assert caught.value.facts["phase"] == "total"


def test_of_requests_with_one_timer_each_ends_at_its_own_silence_and_the_others_go_on() -> None:
    ended: dict[float, float] = {}
    silences = Silences()

    async def listen(limit_s: float, then_s: float) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            with Silence(silences, "http://here", None, limit_s, 900.0) as silence:
                await asyncio.sleep(1.0)
                silence.heard()
                silence.allow(then_s)
                await asyncio.sleep(2000.0)
        except TimedOut as error:
            assert error.facts["limit_s"] == (then_s if then_s < 900.0 else 900.0)
        ended[then_s] = loop.time() - began_s

    async def main() -> None:
        await asyncio.gather(*(listen(600.0, then_s) for then_s in (60.0, 0.25, 5000.0, 7.5)))
        await listen(2.0, 3.0)

    virtual_time.run(main())
    assert {then_s: round(s, 3) for then_s, s in ended.items()} == {
        60.0: 61.0, 0.25: 1.25, 5000.0: 900.0, 7.5: 8.5, 3.0: 4.0,
    }  # fmt: skip


def test_a_count_in_the_first_chunk_alone_cuts_nothing_off() -> None:
    first = said("a ", usage={"prompt_tokens": 9, "completion_tokens": LIMIT})
    builder = read(first, *[said("b ")] * 20, END)
    assert (builder.overran, builder.text.count("b")) == (False, 20)
    assert builder.usage().completion_tokens == LIMIT


def test_tool_calls_that_nobody_asked_for_are_counted_and_end_at_the_limit() -> None:
    call = {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "a"}}]}}]}
    assert tokens(*[call] * 20, END) == (20, True)
    assert read(*[call] * (LIMIT + 5)).overran
    assert tokens(*[said("a ")] * 3, {"choices": [{"delta": {"tool_calls": []}}]}, END) == (3, True)


# -- what is generated and is no part of the text -----------------------------------------------------------------


def choice(index: int, text: str, finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": {"content": text}, "finish_reason": finish}


def test_reasoning_beyond_what_was_allowed_is_believed_as_far_as_there_was_time_for_it() -> None:
    def booked(reasoning: int, passed_s: float, **more: int) -> Usage:
        builder = CompletionBuilder()
        builder.max_tokens = LIMIT
        builder.begin(10.0)
        builder.feed(decode(json.dumps(said("42")).encode())[0], 10.0)
        counts = {"completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": reasoning}, **more}
        builder.feed(decode(json.dumps(usage(**counts)).encode())[0], 10.0 + passed_s)
        builder.stop(10.0 + passed_s)
        return builder.usage()

    assert booked(900, passed_s=9.0) == Usage(9, 903, 0, 900)
    assert booked(10**6, passed_s=9.0) == Usage(9, LIMIT, approximate=True), "nobody knows how much: in full"
    assert booked(900, passed_s=0.001) == Usage(9, LIMIT, approximate=True)
    assert booked(10**6, passed_s=9.0, completion_tokens=10**6).completion_tokens == LIMIT


def test_two_parts_of_one_choice_in_one_chunk_are_both_read() -> None:
    builder = read({"choices": [choice(0, "Answer"), choice(0, ": 4")]}, END)
    assert (builder.text, builder.usage().completion_tokens) == ("Answer: 4", 2)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_a_second_choice_that_nobody_asked_for_is_paid_and_is_not_in_the_text(counted: bool, apart: bool) -> None:
    pairs = [[choice(0, f"a{i} "), choice(1, f"b{i} ")] for i in range(LIMIT - 10)]
    chunks = [{"choices": [each]} for pair in pairs for each in pair] if apart else [{"choices": p} for p in pairs]
    ends = [{"choices": [choice(1, "", "length")]}, {"choices": [choice(0, "", "stop")]}]
    booked = 2 * (LIMIT - 10)
    builder = read(*chunks, *ends, *[usage(completion_tokens=booked)] * counted)
    assert builder.text == "".join(f"a{i} " for i in range(LIMIT - 10)), "nothing of it is cut off"
    assert builder.finish == "stop"
    assert builder.usage() == Usage(9, booked, approximate=not counted)
    lying = read(*chunks, *ends, usage(completion_tokens=LIMIT - 10))
    assert lying.usage().completion_tokens == booked


def test_chunks_without_text_may_be_tokens_where_no_count_says_that_they_are_none() -> None:
    role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    empty = {"choices": [{"index": 0, "delta": {}, "finish_reason": None}]}
    assert tokens(role, *WORDS, END) == (20, True)
    assert tokens(role, *[empty] * 12, *WORDS, END) == (32, True)
    assert tokens(role, *[empty] * 12, *WORDS, END, usage(completion_tokens=20)) == (20, False)
    assert tokens(role, *[empty] * 900, *WORDS, END) == (LIMIT, True), "heartbeats cut nothing off"
    assert cancelled(role, *[empty] * 12, *WORDS, chunks=2, chunking=learned((31, 30))) == 34


@pytest.mark.parametrize("thought", ["hm", {"type": "text", "text": "hm"}])
def test_thinking_is_reasoning_under_another_name(thought: Any) -> None:
    builder = read({"choices": [{"delta": {"thinking": thought}}]}, said("42"), END)
    assert (builder.reasoning, builder.text, builder.usage().completion_tokens) == ("hm", "42", 2)


@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_what_comes_after_the_end_is_paid_and_is_not_in_the_text(cut: int) -> None:
    builder = read(*WORDS, END, b"[DONE]", said(" Answer: 9"), b"[DONE]", usage(completion_tokens=21), cut=cut)
    assert builder.text.endswith("word19 ")
    assert (builder.ended, builder.usage()) == (True, Usage(9, 21))


def test_a_whole_message_in_a_stream_has_come_to_its_end_and_several_have_not() -> None:
    whole = {"choices": [{"message": {"content": "Answer: 4"}}]}
    assert (read(whole).finish, read(whole).text) == ("stop", "Answer: 4")
    assert read(whole, whole).finish is None
    assert read(said("Answer: 4")).finish is None


@pytest.mark.parametrize(("counted", "booked"), [(1, 134), (25, 25), (100, 100)])
def test_a_chunk_of_many_tokens_does_not_bear_out_a_count_by_which_they_are_longer_than_tokens(
    counted: int, booked: int
) -> None:
    events = said("x" * 400), END, usage(completion_tokens=counted)
    assert tokens(*events, limit=1000) == (booked, booked != counted)


def test_a_total_is_a_count_where_the_completion_has_none() -> None:
    count = usage(completion_tokens=None, total_tokens=29, completion_tokens_details={"reasoning_tokens": 5})
    assert tokens(said("x" * 40), END, count) == (20, False)
