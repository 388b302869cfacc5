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
    with FakeEngine(careful) as engine:
        found = tts.sweep("lookup?size=8&seed=2", [f"{AGENT}:horizon=3,10,checks=0"], base_url=engine.base_url)
        prompts = json.dumps([request["messages"][:2] for request in engine.requests])
    assert [outcome.error for outcome in found.outcomes] == [None] * 16
    short, long = found.rows
    assert short.accuracy is not None and long.accuracy is not None
    assert 0 < short.accuracy.mean < 1 and long.accuracy.mean == 1.0
    worlds = [example.problem.facts["links"] for example in load("lookup?size=8&seed=2").examples]
    assert sum(key in prompts for world in worlds for key in world) < 3 * len(worlds)


def test_an_agent_is_asked_once_to_look_again_and_its_answer_stands() -> None:
    with FakeEngine(careful) as engine:
        found = tts.sweep("lookup?size=2&seed=2&hops=2", [f"{AGENT}:horizon=10"], base_url=engine.base_url)
        asked = [request["messages"][-1]["content"] == CHECK_AGAIN for request in engine.requests]
    assert [outcome.correct for outcome in found.outcomes] == [True, True] and sum(asked) == 2
