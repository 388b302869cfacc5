"""The Responses API (`/v1/responses`), read: its fields and items as those of a chat. Nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tts.checks import shown
from tts.serve.protocol.fields import HABITS, OF_NO_EFFECT, Asked, asked_of, object_of, typed
from tts.serve.protocol.refusals import Refusal
from tts.serve.protocol.turns import messages_of, text_of

_SAME = (
    "model", "stream", "temperature", "top_p", "parallel_tool_calls", "tts", "seed", "stop", "top_k", "min_p",
    "chat_template_kwargs", "logit_bias", "frequency_penalty", "presence_penalty", *HABITS,
)  # fmt: skip
_OWN = (
    "input", "instructions", "tools", "tool_choice", "max_output_tokens", "text", "reasoning", "stream_options",
    "metadata", "store", "truncation", "include", "background", "top_logprobs", "service_tier",
)  # fmt: skip
_REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {  # field -> values that say nothing, and why it has no others
    "previous_response_id": ((), "nothing is stored here: send the whole conversation as input"),
    "conversation": ((), "nothing is stored here: send the whole conversation as input"),
    "prompt": ((), "no prompts are stored here: send the text as input"),
    "background": ((False,), "a reply is not kept here: wait for it"),
    "truncation": (("disabled",), "a conversation that is too long is refused by the model's server"),
    "include": (([], ["reasoning.encrypted_content"]), "there is nothing to include"),
    "top_logprobs": ((0,), "an answer that was chosen has none"),
    "service_tier": (("auto", "default"), "there is one tier"),
    "max_tool_calls": ((), "tools are called by the client"),
}
ECHOED = (
    "instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "temperature", "text", "tool_choice",
    "tools", "top_p", "reasoning", "user",
)  # fmt: skip


def response_of_body(body: bytes, forward_unknown: bool = False) -> Asked:
    """Read the body of a response. Arguments and errors as `asked_of`."""
    fields = object_of(body)
    for name, (allowed, why) in _REFUSED.items():
        if name in fields and fields[name] not in allowed:
            message = f"{name} is not supported by this server, but is {shown(fields[name])}: {why}"
            raise Refusal(400, message, code="unsupported", param=name)
    chat = {name: value for name, value in fields.items() if name not in _OWN and name not in _REFUSED}
    chat |= {"tools": _tools(fields.get("tools")), "tool_choice": _choice(fields.get("tool_choice"))}
    chat |= {"max_tokens": fields.get("max_output_tokens"), "response_format": _format(fields.get("text"))}
    chat |= {"reasoning_effort": _effort(fields.get("reasoning"))}
    options = typed(fields, "stream_options", dict, "an object") or {}
    if extra := [name for name in options if name != "include_obfuscation"]:
        raise Refusal(400, f"stream_options has an unknown field {extra[0]!r}", param="stream_options")
    turns = _turns(fields.get("input"), typed(fields, "instructions", str, "text"))
    known = (*_SAME, *OF_NO_EFFECT, "tools", "tool_choice", "max_tokens", "response_format", "reasoning_effort")
    try:
        messages = messages_of(turns, "input")
        asked = asked_of({k: v for k, v in chat.items() if v is not None}, (messages,), known, forward_unknown)
    except Refusal as refusal:
        refusal.param = {"max_tokens": "max_output_tokens"}.get(refusal.param or "", refusal.param)
        raise
    return msgspec.structs.replace(asked, echoed={name: fields[name] for name in ECHOED if name in fields})


def _turns(given: object, instructions: str | None) -> list[Any]:
    """Input items as the turns of a chat: calls of tools in a row are one turn of the assistant's."""
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or not items:
        raise Refusal(400, "input must be text, or a list of at least one item", param="input")
    turns: list[Any] = [{"role": "system", "content": instructions}] if instructions else []
    for i, item in enumerate(items):
        turn = _turn(item, f"input[{i}]")
        if turn is None:
            continue
        if turn.get("tool_calls") and turns and turns[-1].get("role") == "assistant":
            turns[-1] = {**turns[-1], "tool_calls": [*turns[-1].get("tool_calls", ()), *turn["tool_calls"]]}
        else:
            turns.append(turn)
    return turns


def _turn(item: object, where: str) -> dict[str, Any] | None:
    if not isinstance(item, dict):
        raise Refusal(400, f"{where} must be an object, but got {shown(item)}", param=where)
    match item.get("type", "message"):
        case "message":
            return {"role": item.get("role"), "content": item.get("content")}
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        case "function_call_output":
            content = text_of(item.get("output"), f"{where}.output")
            return {"role": "tool", "tool_call_id": item.get("call_id"), "content": content}
        case "reasoning":
            return None  # of a reply before: models are not given their earlier thoughts
        case kind:
            message = f"{where} is of type {shown(kind)}: message, function_call and function_call_output are supported"
            raise Refusal(400, message, code="unsupported", param=where)


def _tools(given: object) -> object:
    if not isinstance(given, list):
        return given
    names = ("name", "description", "parameters", "strict")
    return [
        {"type": "function", "function": {name: tool[name] for name in names if tool.get(name) is not None}}
        if isinstance(tool, dict) and tool.get("type") == "function"
        else tool
        for tool in given
    ]


def _choice(given: object) -> object:
    if isinstance(given, dict) and given.get("type") == "function":
        return {"type": "function", "function": {"name": given.get("name")}}
    return given


def _format(given: object) -> object:
    if given is None:
        return None
    form = given.get("format") if isinstance(given, dict) else None
    if not isinstance(given, dict) or set(given) - {"format", "verbosity"} or given.get("verbosity") is not None:
        raise Refusal(400, f"text must be an object with format, but got {shown(given)}", param="text")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        return {"type": "json_schema", "json_schema": {name: form[name] for name in form if name != "type"}}
    return form


def _effort(given: object) -> object:
    if given is None:
        return None
    if not isinstance(given, dict) or any(given[name] is not None for name in set(given) - {"effort"}):
        raise Refusal(400, f"reasoning must be an object with effort, but got {shown(given)}", param="reasoning")
    return given.get("effort")
