"""Tools in requests and their calls in replies, in the form of OpenAI's chat completions. Pure.

A streamed call comes in pieces: the first has an index, an id and the tool's name, the others more of the arguments'
JSON. Some servers leave out the index, repeat the id or send a call as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tts.types import Message, Tool, ToolCall

_NO_PARAMETERS = {"type": "object", "properties": {}}


class FunctionPiece(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class CallPiece(msgspec.Struct, gc=False):
    """A piece of a call, or a whole one."""

    index: int | None = None
    id: str | None = None
    function: FunctionPiece | None = None

    @property
    def length(self) -> int:
        """Characters of what the model has said in it."""
        return 0 if self.function is None else len(self.function.name or "") + len(self.function.arguments or "")


class CallPieces:
    """The calls of one completion, as far as they have come."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[list[str], list[str], list[str]]] = {}  # index -> ids, names, arguments
        self._latest = -1

    def add(self, pieces: Iterable[CallPiece]) -> None:
        """Take in the pieces of one chunk. One without an index begins a call if it has a name, else goes on."""
        for piece in pieces:
            function = piece.function or FunctionPiece()
            index = piece.index
            if index is None:
                index = self._latest + bool(function.name or self._latest < 0)
            self._latest = index
            ids, names, arguments = self._calls.setdefault(index, ([], [], []))
            if piece.id and not ids:
                ids.append(piece.id)
            if function.name and function.name not in names:
                names.append(function.name)
            arguments.append(function.arguments or "")

    def calls(self) -> tuple[ToolCall, ...]:
        """The calls in order; without arguments, a call's are those of an empty object."""
        return tuple(
            ToolCall("".join(ids), "".join(names), "".join(arguments) or "{}")
            for _, (ids, names, arguments) in sorted(self._calls.items())
        )


def message_json(message: Message) -> dict[str, Any]:
    """A turn as servers take it.

    llama.cpp and vLLM read the arguments of earlier calls as JSON, and refuse the whole request where they cannot (a
    call that was cut, say): what is no JSON object is sent as an empty one. The turn that answers the call may say why.
    """
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        found["content"] = message.content or None
        found["tool_calls"] = [
            call_json(call, "{}" if call.malformed else call.arguments or "{}") for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


def call_json(call: ToolCall, arguments: str) -> dict[str, Any]:
    """A call as servers write it, and take it."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def tool_json(tool: Tool) -> dict[str, Any]:
    """A tool as servers take it."""
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or _NO_PARAMETERS,
    }
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}
