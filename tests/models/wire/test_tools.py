"""Tools in the body of a request, and the pieces in which servers stream their calls."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.core.actions import Request
from tts.errors import CapabilityMissing
from tts.models.wire.capabilities import Capabilities, shows_tools
from tts.models.wire.request import body_of
from tts.models.wire.sse import decode
from tts.models.wire.tools import CallPieces
from tts.testing.replies import call_pieces
from tts.types import Message, Tool, ToolCall

ADD = Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "number"}}})
ONE = '{"a": 1}'
CALL = ToolCall("c1", "add", ONE)
TURNS = (
    Message("user", "What is 2 + 3?"),
    Message("assistant", "", (CALL,)),
    Message("tool", "5", tool_call_id="c1"),
)


def read(*deltas: Any) -> tuple[ToolCall, ...]:
    """The calls of a stream with these `tool_calls`."""
    pieces = CallPieces()
    for delta in deltas:
        chunk, _ = decode(json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": delta}}]}).encode())
        assert chunk.choices is not None and chunk.choices[0].delta is not None
        pieces.add(chunk.choices[0].delta.tool_calls or ())
    return pieces.calls()


def test_tools_and_their_turns_are_sent_as_openai_has_them() -> None:
    body = body_of(Request(TURNS, tools=(ADD, Tool("now"))), "m", "chat", Capabilities())
    add, now = body["tools"]
    assert add == {
        "type": "function",
        "function": {"name": "add", "description": "Adds.", "parameters": ADD.parameters},
    }
    assert now["function"]["parameters"] == {"type": "object", "properties": {}}
    _, asked, answered = body["messages"]
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert asked == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert answered == {"role": "tool", "content": "5", "tool_call_id": "c1"}
    assert "tools" not in body_of(Request(TURNS[:1]), "m", "chat", Capabilities())


@pytest.mark.parametrize("said", ['{"a": ', "", "add one", "[1]", "\ud83d"])
def test_what_is_no_json_object_is_sent_back_as_an_empty_one_because_servers_read_it(said: str) -> None:
    turns = (*TURNS[:1], Message("assistant", "Cut.", (CALL, ToolCall("c2", "add", said))))
    first, second = body_of(Request(turns, tools=(ADD,)), "m", "chat", Capabilities())["messages"][1]["tool_calls"]
    assert [call["function"]["arguments"] for call in (first, second)] == [ONE, "{}"]


@pytest.mark.parametrize("request_", [Request(TURNS[:1], tools=(ADD,)), Request(TURNS)])
def test_text_completions_have_no_tools(request_: Request) -> None:
    with pytest.raises(CapabilityMissing, match="ask it by its chat API"):
        body_of(request_, "m", "completions", Capabilities())


def test_a_template_without_a_place_for_tools_is_said_rather_than_left_to_ignore_them() -> None:
    shown = shows_tools(b'{"total_slots": 1, "chat_template_caps": {"supports_tools": false}}')
    assert shown is False
    assert shows_tools(b'{"total_slots": 1}') is shows_tools(b"<html>") is None
    with pytest.raises(CapabilityMissing, match="no place for them"):
        body_of(Request(TURNS[:1], tools=(ADD,)), "m", "chat", Capabilities(tools=shown))


@given(st.lists(st.builds(ToolCall, st.text("abc1", min_size=1), st.text("xyz", min_size=1), st.text(min_size=1))))
def test_calls_in_pieces_by_index_are_joined(calls: list[ToolCall]) -> None:
    pieces = call_pieces(calls)
    assert read(*([piece] for piece in pieces)) == tuple(calls)
    assert read(pieces) == tuple(calls)


@pytest.mark.parametrize(
    "deltas",
    [
        [[{"id": "c1", "function": {"name": "add", "arguments": '{"a"'}}], [{"function": {"arguments": ": 1}"}}]],
        [[{"index": 0, "id": "c1", "function": {"name": "add"}}], [{"index": 0, "function": {"arguments": ONE}}]],
        [[{"id": "c1", "function": {"name": "add", "arguments": {"a": 1}}}]],  # Ollama: an object, and no index
        [{"index": "0", "id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}}],  # no list
        [[{"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"a": '}}],
         [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "1}"}}]],  # id and name again
    ],
)  # fmt: skip
def test_calls_in_the_forms_of_other_servers_are_read(deltas: list[Any]) -> None:
    assert read(*deltas) == (CALL,)


@pytest.mark.parametrize("odd", [7, "add", [], [None], [[]], [{"function": None}], [{"function": 7}], {"index": []}])
def test_what_is_no_call_breaks_nothing(odd: Any) -> None:
    assert all(call.name == "" for call in read(odd))
