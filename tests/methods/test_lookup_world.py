"""The lookup world, played from end to end: the source's problems, an agent, a server whose model knows only the keys
that it was told, workers that hold the tools, and the grader."""

import json
import re
from pathlib import Path
from typing import Any

import tts
from tts.tasks.sources import load
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply, tokenize
from tts.toolkit.prompts.tools import CHECK_AGAIN
from tts.types import ToolCall

AGENT = f"{Path(__file__).parent}/agents/agent.py:agent"


def careful(request: dict[str, Any]) -> Reply:
    """A model that calls one tool a turn and makes no mistake."""
    question, told = "", []
    for message in request["messages"]:
        told += [message["content"]] * (message["role"] == "tool")
        if message["role"] == "user" and message["content"] != CHECK_AGAIN:
            question = message["content"]
    asked = question.partition(";")[2]
    starts, counts = re.findall(r"\b(?:from|at) ([A-Z\d]\w+)", asked), re.findall(r"(\d+) link", asked)
    ends, at = [], 0
    for start, hops in zip(starts, map(int, counts), strict=True):
        found = told[at : at + hops]
        if len(found) < hops:
            return calling("lookup", key=found[-1] if found else start)
        ends.append(found[-1])
        at += hops
    if len(ends) == 2 and len(told) == at:
        return calling("calculate", expression="+".join(ends))
    return Reply(tokenize(f"Answer: {told[-1]}"))


def calling(tool: str, **arguments: str) -> Reply:
    return Reply(("Next", ":"), tool_calls=(ToolCall("c", tool, json.dumps(arguments)),))


def test_an_agent_that_may_act_long_enough_answers_what_only_its_tools_know() -> None:
    task, agent = "lookup?size=2&seed=2", f"{AGENT}:horizon=12"
    with FakeEngine(careful) as engine:
        found = tts.sweep(task, agent, budgets=["steps=1", "steps=3"], base_url=engine.base_url)
        asked = [request["messages"] for request in engine.requests]
    short, long = found.rows
    assert short.accuracy is not None and long.accuracy is not None
    assert (short.accuracy.mean, long.accuracy.mean) == (0.5, 1.0)
    assert sum(turns[-1]["content"] == CHECK_AGAIN for turns in asked) == 2  # the budgets share what they ask
    prompts = json.dumps([turns[:2] for turns in asked])
    worlds = [example.problem.facts["links"] for example in load(task).examples]
    assert sum(key in prompts for world in worlds for key in world) < 3 * len(worlds)
