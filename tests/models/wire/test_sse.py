"""Bytes in, events and chunks out."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tts.errors import BadResponse
from tts.models.wire.sse import EventParser, decode

STREAM = (
    b": keep-alive\n\n"
    b'data: {"a": 1}\n\n'
    b"event: message\r\nid: 7\r\ndata: {\r\ndata:  1}\r\n\r\n"
    b"data:tight\n\ndata\n\n"
    b"retry: 10\rdata: cr\r\r"
    b"data: [DONE]\n\n"
)
EVENTS = [b'{"a": 1}', b"{\n 1}", b"tight", b"", b"cr", b"[DONE]"]


@settings(derandomize=True, max_examples=300)
@example([61, 61])  # between a carriage return and its line feed, with an empty read
@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_the_events_do_not_depend_on_where_the_network_cuts_the_bytes(cuts: list[int]) -> None:
    parser, events, at = EventParser(), [], 0
    for cut in [*sorted(cuts), len(STREAM)]:
        events += parser.feed(STREAM[at:cut])
        at = cut
    assert [e for e in events + parser.close() if e] == [e for e in EVENTS if e]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_byte_alone_gives_the_same_events(mark: bytes) -> None:
    parser = EventParser()
    events = [event for byte in mark + STREAM for event in parser.feed(bytes([byte]))]
    assert [e for e in events if e] == [e for e in EVENTS if e]


def test_a_carriage_return_and_its_line_feed_in_two_reads_are_one_line_end() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\ndata: b\r\n\r\n") == [b"a\nb"]


def test_a_byte_order_mark_is_not_part_of_the_first_field() -> None:
    assert EventParser().feed(b"\xef\xbb\xbfdata: x\n\n") == [b"x"]


def test_an_event_without_its_blank_line_comes_at_the_end_of_the_stream() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\n\ndata: b") == [b"a"]
    assert parser.close() == [b"b"]
    assert parser.close() == []


def test_an_endless_event_is_refused_before_it_fills_the_memory() -> None:
    parser = EventParser(max_event_bytes=100)
    with pytest.raises(BadResponse, match="100 bytes"):
        for _ in range(20):
            parser.feed(b"data: 0123456789")
    lines = EventParser(max_event_bytes=100)
    with pytest.raises(BadResponse, match="100 bytes"):
        for _ in range(20):
            lines.feed(b"data: 0123456789\n")


def test_only_the_fields_that_matter_are_read_and_the_rest_is_skipped() -> None:
    chunk, dropped = decode(
        b'{"id":"x","object":"chat.completion.chunk","system_fingerprint":null,"choices":[{"index":0,"delta":'
        b'{"role":"assistant","content":"hi","tool_calls":[{"x":1}]},"finish_reason":null,"stop_reason":5}],"usage":null}'
    )
    assert not dropped
    assert chunk.choices is not None and chunk.choices[0].delta is not None
    assert chunk.choices[0].delta.content == "hi"
    assert chunk.usage is None


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity"])
def test_logprobs_that_are_not_numbers_are_dropped_and_the_text_is_kept(number: bytes) -> None:
    chunk, dropped = decode(
        b'{"choices":[{"delta":{"content":"hi"},"logprobs":{"content":[{"token":"hi","logprob":%s}]}}]}' % number
    )
    assert dropped
    assert chunk.choices is not None and chunk.choices[0].delta is not None
    assert chunk.choices[0].delta.content == "hi"
    assert chunk.choices[0].logprobs is None


@pytest.mark.parametrize(
    "data", [b'{"choices":[{"del', b"<!doctype html>", b'{"choices": "no"}', b'{"choices":[{"text": NaN}]}', b"[NaN]"]
)
def test_what_is_not_a_completion_is_refused_and_quoted(data: bytes) -> None:
    with pytest.raises(BadResponse) as caught:
        decode(data)
    assert data[:20].decode() in caught.value.facts["sent"]
