"""Answers to a model's calls of tools, where no tool can be."""

from __future__ import annotations

from collections.abc import Sequence

from tts.messages import Message, Tool, ToolCall

MOST_SAID = 300  # characters of what is wrong with the arguments


def refusal(call: ToolCall, tools: Sequence[Tool]) -> Message | None:
    """The turn that tells the model why its call cannot be carried out: no tool has its name, or its arguments are no
    JSON object, or not as the tool's schema has them. None for a call that can be."""
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        known = ", ".join(tool.name for tool in tools) or "none"
        return call.result(f"Error: there is no tool {call.name!r}. The tools are: {known}.")
    arguments = call.parsed
    if arguments is None:
        return call.result(f"Error: the arguments of {call.name} must be a JSON object, but are {call.arguments!r}.")
    if not tool.parameters:
        return None
    from jsonschema import Draft202012Validator  # 40 ms to import, which few strategies need

    wrong = next(Draft202012Validator(tool.parameters).iter_errors(arguments), None)
    if wrong is None:
        return None
    return call.result(f"Error: the arguments of {call.name} at {wrong.json_path}: {wrong.message}"[:MOST_SAID])
