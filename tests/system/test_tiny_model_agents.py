"""The lessons of acting with tools: turns are as the chat template writes them, results are those of the tools, and
episodes go wrong as often as their rates of slips say."""

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import jinja2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.tiny_model.chat import TEMPLATE, written
from benchmarks.tiny_model.examination import acting as rows
from benchmarks.tiny_model.examination.acting import asked_of
from benchmarks.tiny_model.examination.exam import Chains, Exam, Said
from benchmarks.tiny_model.lessons.acting import Acting
from benchmarks.tiny_model.lessons.lesson import Lesson, Turn
from benchmarks.tiny_model.teachers import agents
from benchmarks.tiny_model.teachers.agents import Done, Task, chain_task, lookup_task
from benchmarks.tiny_model.teachers.chains import ChainTeacher
from benchmarks.tiny_model.teachers.teacher import Item
from tts.answers.equivalence import extract
from tts.core.actions import Request
from tts.messages import Message, Tool, ToolCall
from tts.models.wire.tools import message_json, tool_json
from tts.tasks.chains import Level, chain
from tts.toolkit.environments.calculator import CALCULATOR
from tts.toolkit.environments.lookup import TOOLS, called
from tts.toolkit.prompts.tools import ACT, CHECK_AGAIN, acting
from tts.toolkit.tools import refusal
from tts.types import Completion, Problem

CALL = re.compile(r"(?:\A|\n)<tool_call>(.*)</tool_call>\Z")
COMPILED = jinja2.Environment().from_string(TEMPLATE)
RATES = ("WRONG", "REPEATED", "PREMATURE", "OVERLOOKED")
ACTING = Acting(ChainTeacher(0.0, 8, (1.0,)))
lessons = st.builds(ACTING.lesson, st.builds(Random, st.integers(0, 10**6)), st.sampled_from(ACTING.modes))
kinds = pytest.mark.parametrize("kind", ["lookup", "chain"])


@pytest.fixture
def no_slips(monkeypatch: pytest.MonkeyPatch) -> None:
    for rate in RATES:
        monkeypatch.setattr(agents, rate, 0.0)


def as_message(turn: Turn) -> Message:
    """A turn as `tts` has it: its call apart from its text, which ends as llama.cpp leaves it."""
    found = CALL.search(turn.content) if turn.role == "assistant" else None
    if found is None:
        return Message(turn.role, turn.content)  # type: ignore[arg-type]
    said = json.loads(found.group(1))
    call = ToolCall("c", said["name"], json.dumps(said["arguments"]))
    return Message("assistant", turn.content[: found.start(1)].removesuffix("<tool_call>"), (call,))


def rendered(messages: list[Message], tools: Sequence[Tool]) -> str:
    """Messages as an engine writes them by the model's template."""
    shown = [tool_json(tool) for tool in tools]
    return COMPILED.render(messages=[*map(message_json, messages)], tools=shown, add_generation_prompt=True)


@given(lessons)
def test_a_lesson_is_what_the_template_makes_of_the_turns_and_tools_of_an_agent(lesson: Lesson) -> None:
    system, *rest = lesson.turns
    own = [Message("system", ACT)] if system.content.startswith(ACT) else []
    tools = TOOLS if "lookup(key)" in system.content else (CALCULATOR,)
    assert rendered([*own, *map(as_message, rest)], tools) == written(lesson.turns)
    if own:
        assert [*own, as_message(rest[0])] == list(acting(Problem("p", rest[0].content)))


@given(lessons)
def test_every_reply_is_a_call_that_the_tools_take_or_an_answer(lesson: Lesson) -> None:
    message = as_message(Turn("assistant", lesson.reply))
    if message.tool_calls:
        assert refusal(message.tool_calls[0], TOOLS) is None
    else:
        assert extract(lesson.reply) is not None and "<tool_call>" not in lesson.reply


@kinds
@given(seed=st.integers(0, 10**6))
def test_results_are_those_of_the_tools(kind: str, seed: int) -> None:
    episode = ACTING.played(Random(seed), kind)
    episode.check()
    for asked, answered in pairwise(episode.turns):
        calls = as_message(asked).tool_calls
        assert bool(calls) == (answered.role == "tool")
        if calls:
            assert answered.content == called(episode.task.links, calls[0].name, calls[0].parsed or {})


@kinds
@pytest.mark.usefixtures("no_slips")
def test_without_slips_an_episode_takes_the_least_steps_and_a_second_look_confirms_its_answer(kind: str) -> None:
    for seed in range(200):
        episode = ACTING.played(Random(seed), kind)
        assert sum(turn.role == "assistant" for turn in episode.turns) == episode.task.calls + 1
        assert episode.turns[-1].content == f"Answer: {episode.task.answer}" and not episode.faulty
        episode.check()
        assert episode.turns[-2] == Turn("user", CHECK_AGAIN)
        assert episode.turns[-1].content.endswith(f"\nAnswer: {episode.task.answer}")


@kinds
def test_a_second_look_that_overlooks_nothing_finds_what_is_missing_or_wrong(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "WRONG", 0.5)
    monkeypatch.setattr(agents, "PREMATURE", 0.3)
    episodes = [ACTING.played(Random(seed), kind) for seed in range(300)]
    for rate in RATES:
        monkeypatch.setattr(agents, rate, 0.0)
    faulty = [episode for episode in episodes if episode.faulty]
    assert len(faulty) > 75
    for episode in faulty:
        episode.check()
        assert not episode.faulty and episode.turns[-1].content.endswith(f"Answer: {episode.task.answer}")


def test_success_grows_with_the_steps_allowed_and_slips_are_as_frequent_as_their_rates_say() -> None:
    random = Random(1)
    episodes = [ACTING.played(random, "lookup") for _ in range(1500)]
    steps = [sum(turn.role == "assistant" for turn in episode.turns) for episode in episodes]
    right = [extract(episode.turns[-1].content) == episode.task.answer for episode in episodes]
    at = {
        factor: sum(r and s <= factor * (e.task.calls + 1) for r, s, e in zip(right, steps, episodes, strict=True))
        for factor in (1, 2)
    }
    assert at[2] - at[1] > 0.25 * len(episodes)
    assert 0.08 < sum(episode.faulty for episode in episodes) / len(episodes) < 0.25


def test_half_of_the_second_looks_have_something_to_find() -> None:
    random = Random(2)
    looks = [ACTING.lesson(random, "check lookup") for _ in range(300)]
    first = [lesson for lesson in looks if lesson.turns[-1] == Turn("user", CHECK_AGAIN)]
    assert len(first) > 180
    goes_on = sum("<tool_call>" in lesson.reply for lesson in first) / len(first)
    assert 0.3 < goes_on < 0.55


class Repeating:
    """An engine whose agent makes its first call twice, and else no slip."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.text: task for task in tasks}

    async def complete(self, request: Request) -> Completion:
        task, done = self._tasks[request.messages[1].content], list[Done]()
        results = [message.content for message in request.messages if message.role == "tool"]
        for result in results[1:]:
            step = task.step(done)
            assert step is not None
            done.append(Done(step, step.wanted, result))
        step = task.step(done)
        if step is None:
            return Completion(f"Answer: {done[-1].result}")
        argument = "key" if step.tool == "lookup" else "expression"
        call = ToolCall("c", step.tool, json.dumps({argument: step.wanted}))
        return Completion("", "tool_calls", tool_calls=(call,))


def test_the_rows_say_what_an_agent_does_whose_slips_are_known() -> None:
    engine = Repeating([lookup_task(made) for made in asked_of(2)])
    exam = Exam(engine, school=None, problems=2)  # type: ignore[arg-type]
    asyncio.run(rows.lookup(exam))
    success, look = exam.lines
    assert "+100.0 ± 0.0 points; at 1, 1.34, 1.67 and 2 times the needed steps 0, " in success and "met" in success
    assert "+0.0 ± 0.0 points of 8; 100 % before; 0 calls could not be carried out" in look


def test_the_row_of_the_calculator_is_on_chains_that_the_model_also_did_alone() -> None:
    made = [chain(Random(steps), Level((steps, steps), 2, 9, 0)) for steps in range(1, 9)]
    items = [Item(one.text, one) for one in made]
    exam = Exam(Repeating([chain_task(item.data) for item in items]), school=None, problems=2)  # type: ignore[arg-type]
    exam._chains = Chains(items, [[Said("Answer: -1", 3, False)]] * 8, np.arange(8))
    asyncio.run(rows.calculator(exam))
    assert "chains of 5 to 7 steps" in exam.lines[0] and "+100.0 ± 0.0 points of 3; 0 % alone" in exam.lines[0]
