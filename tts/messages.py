"""The turns of a chat, and the tools that a model may call in it, as OpenAI's chat completions have them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

from tts.checks import json_object, require
from tts.errors import InvalidParameter
from tts.values import Value, shown_fields

Role = Literal["system", "user", "assistant", "tool"]
ROLES = get_args(Role)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of a tool: OpenAI's rule


class Tool(Value, frozen=True):
    """A function that a model may ask for. It is described to the model only; the strategy carries calls out.

    Args:
        name: letters, digits, `_` and `-`, at most 64.
        description: for the model.
        parameters: a JSON schema of the arguments, an object's; empty for a tool that takes none.
        strict: whether the server is to hold the model to that schema; None leaves that to the server.

    Raises: InvalidParameter for another name, and what is no JSON object.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = {}
    strict: bool | None = None

    def __repr__(self) -> str:
        return shown_fields(self, ("strict",))

    def __post_init__(self) -> None:
        named = isinstance(self.name, str) and _NAME.fullmatch(self.name) is not None
        require(named, "the name of a tool", "1 to 64 letters, digits, _ and -", self.name)
        require(isinstance(self.description, str), f"the description of the tool {self.name}", "text", self.description)
        schema = json_object(f"the parameters of the tool {self.name}", self.parameters)
        msgspec.structs.force_setattr(self, "parameters", schema)
        require(self.strict in (None, True, False), f"strict of the tool {self.name}", "true or false", self.strict)


class ToolCall(Value, frozen=True):
    """A call that a model asks for.

    Args:
        id: as the server named it; empty where it has none.
        name: of the tool; a model may make one up.
        arguments: the model's JSON, as it came. A model may write what is none: see `malformed`.
    """

    id: str
    name: str
    arguments: str = "{}"

    @property
    def parsed(self) -> dict[str, Any] | None:
        """The arguments by name; None where they are no JSON object."""
        try:
            found: object = msgspec.json.decode(self.arguments or "{}")
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @property
    def malformed(self) -> bool:
        """Whether the arguments are no JSON object."""
        return self.parsed is None

    def result(self, text: str) -> Message:
        """The turn with what the tool has returned for this call."""
        return Message("tool", text, tool_call_id=self.id or None)


class Message(Value, frozen=True):
    """A turn of a chat.

    Args:
        role: whose turn it is.
        content: its text.
        tool_calls: of an assistant's turn, the calls that it asked for.
        tool_call_id: of a tool's turn, the call that it answers.

    Raises: InvalidParameter for an unknown role, no text, calls of another role's.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            require(False, "the role of a message", "system, user, assistant or tool", self.role)
        if not isinstance(self.content, str):
            require(False, "the content of a message", "text", self.content)
        if self.tool_calls and self.role != "assistant":
            require(False, "the role of a message with tool_calls", "assistant", self.role)
        if self.tool_call_id is not None and self.role != "tool":
            require(False, "the role of a message with a tool_call_id", "tool", self.role)

    def __repr__(self) -> str:
        return shown_fields(self, ("tool_calls", "tool_call_id"))


Prompt = tuple[Message, ...]
Turns = str | Sequence[Message | Mapping[str, Any]]  # the forms of a prompt
Tools = Sequence[Tool | Mapping[str, Any]]  # the forms of a request's tools


def answer_of_calls(calls: Sequence[ToolCall], tools: Sequence[Tool]) -> str | None:
    """The answer that calls of a problem's tools are: `name({"a":1,"b":2})`, a line each. Equal calls are spelt alike,
    whatever the order of the calls, of the arguments and the white space in them, so that they vote together.

    None, an abstention, where a call cannot be carried out: of another tool's name, or with arguments that are
    malformed, or nested too deep to be compared.
    """
    known = {tool.name for tool in tools}
    if not calls or any(call.name not in known or call.malformed for call in calls):
        return None
    try:
        return "\n".join(sorted(f"{call.name}({_spelt(call.parsed)})" for call in calls))
    except RecursionError:
        return None


def _spelt(arguments: object) -> str:
    return msgspec.json.encode(_whole_numbers(arguments), order="sorted").decode()


def _whole_numbers(value: Any) -> Any:
    """The value with 2.0 as 2, which is the same number in JSON."""
    match value:
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case dict():
            return {name: _whole_numbers(each) for name, each in value.items()}
        case list():
            return [_whole_numbers(each) for each in value]
    return value


def as_prompt(prompt: Turns, system: str | None = None) -> Prompt:
    """Make messages of a prompt: a user turn from text (after a system turn, if given); a sequence's messages as they
    are.

    Raises: InvalidParameter for an empty sequence, or one of anything but messages, or mappings with `role` and
        `content` (and `tool_calls` or `tool_call_id`, in OpenAI's form).
    """
    if not isinstance(prompt, str | Iterable):
        raise InvalidParameter(f"a prompt must be text, or messages with role and content, but got {prompt!r}")
    if not isinstance(prompt, str):
        turns = tuple(turn if isinstance(turn, Message) else _as_message(turn) for turn in prompt)
        require(bool(turns), "the messages of a prompt", "at least one", prompt)
        return turns
    user = Message("user", prompt)
    return (Message("system", system), user) if system else (user,)


def as_tools(tools: Tools) -> tuple[Tool, ...]:
    """Make tools of what a strategy gives: a `Tool`, or OpenAI's `{"type": "function", "function": {"name": ...}}`.

    Raises: InvalidParameter for anything else, and two of one name.
    """
    if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
        raise InvalidParameter(f"tools must be a list of tools, but got {tools!r}", name="tools")
    found = tuple(tool if isinstance(tool, Tool) else _as_tool(tool) for tool in tools)
    names = [tool.name for tool in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    require(twice is None, "the names of the tools of a request", "different", twice)
    return found


def _as_tool(tool: object) -> Tool:
    inner = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if isinstance(inner, Mapping) and "name" in inner:
        known = {name: inner[name] for name in Tool.__struct_fields__ if inner.get(name) is not None}
        return Tool(**known)
    raise InvalidParameter(
        f'a tool must be a Tool, or a function in OpenAI\'s form, {{"type": "function", "function": {{"name": ...}}}}, '
        f"but got {tool!r}",
        name="tools",
    )


def _as_message(turn: object) -> Message:
    known = {"role", "content", "tool_calls", "tool_call_id"}
    if isinstance(turn, Mapping) and {"role", "content"} <= turn.keys() <= known:
        calls = tuple(map(_as_call, turn.get("tool_calls") or ()))
        content = "" if calls and turn["content"] is None else turn["content"]
        return Message(turn["role"], content, calls, turn.get("tool_call_id"))
    raise InvalidParameter(
        f"a message must be a Message, or have role and content, and perhaps tool_calls or tool_call_id, alone, "
        f"but got {turn!r}"
    )


def _as_call(call: object) -> ToolCall:
    if isinstance(call, ToolCall):
        return call
    match call:
        case {"function": {"name": str(name), "arguments": str(arguments)}, **rest}:
            return ToolCall(str(rest.get("id") or ""), name, arguments)
    raise InvalidParameter(
        f'a tool call must be a ToolCall, or in OpenAI\'s form, {{"id": ..., "function": {{"name": ..., "arguments": '
        f'"..."}}}}, but got {call!r}'
    )
