"""The chat template of the small model, as engines render it, against the text that its lessons hold."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.tiny_model.chat import TEMPLATE, calling, with_tools, written
from benchmarks.tiny_model.lessons.lesson import Turn
from tts.messages import Tool

jinja2 = pytest.importorskip("jinja2")
TEXT = {"type": "string"}
TOOLS = (
    Tool("lookup", "What a key leads to.", {"type": "object", "properties": {"key": TEXT, "of": TEXT}}),
    Tool("now", "The time."),
)


def rendered(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
    """As `transformers` renders it: its `tojson` keeps letters as they are."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return str(environment.from_string(TEMPLATE).render(messages=messages, tools=tools, add_generation_prompt=True))


def test_turns_are_written_as_the_template_writes_them() -> None:
    turns = (Turn("system", "Be brief."), Turn("user", "1+1?"), Turn("assistant", "2"), Turn("user", "Sure?"))
    assert rendered([turn._asdict() for turn in turns]) == written(turns)


@pytest.mark.parametrize("system", ["Act.", ""])
@pytest.mark.parametrize("text", ["I look.", ""])
@pytest.mark.parametrize("as_text", [False, True])
def test_tools_calls_and_results_are_written_as_the_template_writes_them(system: str, text: str, as_text: bool) -> None:
    """Arguments come as an object (vLLM, llama.cpp) or as their JSON (OpenAI's form)."""
    arguments = {"key": 'Zo\u00eb "12"', "of": "x"}
    function = {"name": "lookup", "arguments": json.dumps(arguments, ensure_ascii=False) if as_text else arguments}
    asked = [{"role": "system", "content": system}] if system else []
    call = {"role": "assistant", "content": text or None, "tool_calls": [{"type": "function", "function": function}]}
    messages = [*asked, {"role": "user", "content": "Where?"}, call, {"role": "tool", "content": "Oslo"}]
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters or {"type": "object", "properties": {}},
            },
        }
        for tool in TOOLS
    ]
    turns = (
        with_tools(system, TOOLS),
        Turn("user", "Where?"),
        Turn("assistant", calling(text, "lookup", arguments)),
        Turn("tool", "Oslo"),
    )
    assert rendered(messages, tools) == written(turns)
