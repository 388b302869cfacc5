"""The chat template, and the same text without an engine.

A call of a tool is written as Hermes models write theirs, which llama.cpp and vLLM (`--tool-call-parser hermes`) read:
`<tool_call>{"name": "lookup", "arguments": {"name": "Ada"}}</tool_call>`. Tools are described in one short line each,
at the end of the system turn: a small model has no room for their schemas.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tiny_model.lessons.lesson import Turn
from tts.messages import Tool

END_OF_TEXT, START, END = SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% set named = messages[0]['content'] + '\\n\\n' if messages[0]['role'] == 'system' else '' %}"
    "{% if tools %}"
    "{{ '<|im_start|>system\\n' + named + 'Tools:' }}"
    "{% for tool in tools %}"
    "{{ '\\n' + tool['function']['name'] + '(' }}"
    "{% for name in tool['function']['parameters']['properties'] %}{{ ', ' if not loop.first }}{{ name }}{% endfor %}"
    "{{ '): ' + tool['function']['description'] }}"
    "{% endfor %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endif %}"
    "{% for message in messages %}{% if not (tools and loop.first and message['role'] == 'system') %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% set text = message['content'] or '' %}"
    "{% set text = text | trim if message['tool_calls'] else text %}"  # engines leave the line's end before a call
    "{{ text }}"
    "{% if message['tool_calls'] %}{% for call in message['tool_calls'] %}"
    "{% if text or not loop.first %}{{ '\\n' }}{% endif %}"
    "{{ '<tool_call>{\"name\": \"' + call['function']['name'] + '\", \"arguments\": ' }}"
    "{% if call['function']['arguments'] is string %}{{ call['function']['arguments'] }}"
    "{% else %}{{ call['function']['arguments'] | tojson }}{% endif %}"
    "{{ '}</tool_call>' }}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def written(turns: Sequence[Turn]) -> str:
    """The turns before a reply, as the chat template writes them."""
    return "".join(f"{START}{role}\n{content}{END}\n" for role, content in turns) + f"{START}assistant\n"


def with_tools(system: str, tools: Sequence[Tool]) -> Turn:
    """The system turn of a request that offers tools; without a text of its own if that is empty."""
    lines = [f"{tool.name}({', '.join(tool.parameters.get('properties', {}))}): {tool.description}" for tool in tools]
    return Turn("system", "\n".join([f"{system}\n\nTools:" if system else "Tools:", *lines]))


def calling(text: str, name: str, arguments: Mapping[str, Any]) -> str:
    """An assistant's turn that says a text, or nothing, and calls a tool."""
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"{text}\n<tool_call>{call}</tool_call>" if text else f"<tool_call>{call}</tool_call>"
