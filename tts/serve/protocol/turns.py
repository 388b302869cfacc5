"""The turns of a chat and the tools of a request, read. An error names the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tts.checks import shown
from tts.errors import InvalidParameter
from tts.messages import as_tools
from tts.serve.protocol.refusals import Refusal
from tts.types import Message, Prompt, Role, Tool, ToolCall

_ROLES: Mapping[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
}  # fmt: skip
_CHOICES = ("none", "auto", "required")
_OF_TOOLS = ("tool_choice", "parallel_tool_calls")


def messages_of(given: object, where: str = "messages") -> Prompt:
    """The turns of a chat. Raises: Refusal."""
    if not isinstance(given, list) or not given:
        raise Refusal(400, f"{where} must be a list of at least one message", param=where)
    turns = tuple(_message(turn, f"{where}[{i}]") for i, turn in enumerate(given))
    called = set[str]()
    for i, turn in enumerate(turns):
        called |= {call.id for call in turn.tool_calls}
        if turn.role == "tool" and turn.tool_call_id not in called:
            message = (
                f"{where}[{i}] is the result of the call {shown(turn.tool_call_id)}, but no turn of the assistant's "
                f"before it has a call with this id: send that turn, too"
            )
            raise Refusal(400, message, param=f"{where}[{i}].tool_call_id")
    return turns


def _message(turn: object, where: str) -> Message:
    if not isinstance(turn, dict):
        raise Refusal(400, f"{where} must be an object with role and content, but got {shown(turn)}", param=where)
    role, calls = turn.get("role"), turn.get("tool_calls")
    if not isinstance(role, str) or role not in _ROLES:
        known = "system, developer, user, assistant or tool"
        raise Refusal(400, f"{where}.role must be {known}, but got {shown(role)}", param=f"{where}.role")
    if turn.get("function_call") is not None:
        message = f"{where}.function_call is not supported by this server: write it as tool_calls"
        raise Refusal(400, message, code="unsupported", param=f"{where}.function_call")
    if calls and role != "assistant":
        raise Refusal(400, f"{where}.tool_calls are the assistant's, but the role is {role}", param=where)
    if calls is not None and not isinstance(calls, list):
        raise Refusal(400, f"{where}.tool_calls must be a list, but got {shown(calls)}", param=f"{where}.tool_calls")
    answered = turn.get("tool_call_id")
    if role == "tool" and (not isinstance(answered, str) or not answered):
        message = f"{where}.tool_call_id must name the call that the tool's turn answers, but got {shown(answered)}"
        raise Refusal(400, message, param=f"{where}.tool_call_id")
    return Message(
        _ROLES[role],
        text_of(turn.get("content"), f"{where}.content", may_lack=role == "assistant"),
        tuple(_call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls or ())),
        answered if role == "tool" else None,
    )


def _call(call: object, where: str) -> ToolCall:
    match call:
        case {"id": str(id), "function": {"name": str(name), "arguments": str(arguments)}}:
            return ToolCall(id, name, arguments)
    form = '{"id": ..., "type": "function", "function": {"name": ..., "arguments": "..."}}'
    raise Refusal(400, f"{where} must be {form}, but got {shown(call)}", param=where)


def text_of(content: object, where: str, *, may_lack: bool = False) -> str:
    """The text of a turn, given as it is or in parts. Raises: Refusal, also for images, audio and files."""
    if isinstance(content, str):
        return content
    if content is None and may_lack:
        return ""
    if not isinstance(content, list):
        raise Refusal(400, f"{where} must be text, or a list of parts, but got {shown(content)}", param=where)
    return "".join(_part(part, f"{where}[{i}]") for i, part in enumerate(content))


def _part(part: object, where: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("text", "refusal", "input_text", "output_text"):
        what = f"a part of type {kind!r}" if isinstance(kind, str) else shown(part)
        message = f"{where} must be text, but is {what}: the model is given no images, audio or files by this server"
        raise Refusal(400, message, code="unsupported", param=where)
    name = "refusal" if kind == "refusal" else "text"
    text = part.get(name) if isinstance(part, dict) else None
    if not isinstance(text, str):
        raise Refusal(400, f"{where}.{name} must be text, but got {shown(text)}", param=where)
    return text


def tools_of(fields: Mapping[str, Any]) -> tuple[Tool, ...]:
    """The tools of a request, its `tool_choice` and `parallel_tool_calls` checked. Raises: Refusal."""
    given = fields.get("tools")
    if given is not None and not isinstance(given, list):
        raise Refusal(400, f"tools must be a list, but got {shown(given)}", param="tools")
    for i, tool in enumerate(given or ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind != "function" or not isinstance(tool.get("function"), dict):
            known = '{"type": "function", "function": {"name": ...}}'
            what = f"is of type {kind!r}" if isinstance(kind, str) and kind != "function" else f"got {shown(tool)}"
            raise Refusal(400, f"tools[{i}] must be {known}, but {what}", code="unsupported", param=f"tools[{i}]")
    try:
        tools = as_tools(given or ())
    except InvalidParameter as error:
        raise Refusal(400, error.message, param="tools") from None
    _check_use(fields, tools)
    return tools


def _check_use(fields: Mapping[str, Any], tools: Sequence[Tool]) -> None:
    """Check the fields that say how tools may be used. Raises: Refusal."""
    for name in _OF_TOOLS:
        if name in fields and not tools and fields[name] != "none":
            raise Refusal(400, f"{name} is for requests with tools, but there are none", param=name)
    parallel = fields.get("parallel_tool_calls")
    if parallel is not None and type(parallel) is not bool:
        raise Refusal(
            400, f"parallel_tool_calls must be true or false, but got {shown(parallel)}", param="parallel_tool_calls"
        )
    choice = fields.get("tool_choice")
    names = [tool.name for tool in tools]
    match choice:
        case None | "none" | "auto" | "required":
            return
        case {"type": "function", "function": {"name": str(name)}} if name in names:
            return
    known = [*map(repr, _CHOICES), *(f'{{"type": "function", "function": {{"name": "{name}"}}}}' for name in names[:3])]
    raise Refusal(400, f"tool_choice must be one of {', '.join(known)}, but got {shown(choice)}", param="tool_choice")
