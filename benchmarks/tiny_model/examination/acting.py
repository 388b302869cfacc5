"""Rows on acting with tools, as an agent of `tts` acts: the lookup world, and chains with a calculator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np

from benchmarks.tiny_model.examination.engine import SLOTS, TEMPERATURE
from benchmarks.tiny_model.examination.exam import SEED, Exam
from benchmarks.tiny_model.examination.figures import interval, singles
from benchmarks.tiny_model.lessons.acting import MOST_STEPS
from benchmarks.tiny_model.teachers.agents import Task, chain_task, lookup_task
from tts.answers.equivalence import extract
from tts.core.actions import Request
from tts.errors import ContextTooLong
from tts.messages import Message, Prompt
from tts.tasks.lookup import MOST_HOPS, Question, question
from tts.toolkit.environments.lookup import called
from tts.toolkit.prompts.tools import CHECK_AGAIN, acting
from tts.toolkit.tools import refusal
from tts.types import Problem, Sampling

SAMPLING = Sampling(temperature=TEMPERATURE, max_tokens=200)
FACTOR = 2  # times the least number of steps are allowed


class Played(NamedTuple):
    """An episode: the steps to its first answer, whether that was right, and whether the one after a second look was;
    None for what never came, and `malformed`, the calls that could not be carried out."""

    least: int
    steps: int | None
    right: bool
    after: bool | None
    malformed: int


async def lookup(exam: Exam) -> None:
    played = await _all(exam, [lookup_task(made) for made in asked_of(exam.problems)])
    by_factor = {factor: np.array([_succeeds(one, factor) for one in played]) for factor in (1.0, 1.34, 1.67, 2.0)}
    least, *_, twice = by_factor.values()
    shown = ", ".join(f"{100 * found.mean():.0f}" for found in by_factor.values())
    exam.row(
        "lookup world: success at twice the needed steps - at the least",
        ">= +20 points",
        f"{interval(twice - least, 100)}; at 1, 1.34, 1.67 and 2 times the needed steps {shown} %",
        (twice - least).mean() >= 0.2,
    )
    looked = [one for one in played if one.after is not None]
    if looked:
        gains = np.array([float(one.after or 0) - one.right for one in looked])
        exam.note(
            "lookup world: right answers after a second look (check_again) - before",
            f"{interval(gains, 100)} of {len(looked)}; {100 * np.mean([one.right for one in looked]):.0f} % before; "
            f"{sum(one.malformed for one in played)} calls could not be carried out",
        )


async def calculator(exam: Exam) -> None:
    items, groups, _ = await exam.chains()
    # Those of as many steps as its lessons have, which it seldom gets right alone.
    chosen = [
        (item, group) for item, group in zip(items, groups, strict=True) if 5 <= len(item.data.steps) <= MOST_STEPS
    ]
    played = await _all(exam, [chain_task(item.data) for item, _ in chosen], looks=False)
    alone = singles([group for _, group in chosen])
    helped = np.array([float(one.right) for one in played])
    exam.note(
        f"chains of 5 to {MOST_STEPS} steps: right answers with a calculator - alone",
        f"{interval(helped - alone, 100)} of {len(chosen)}; {100 * alone.mean():.0f} % alone",
    )


def asked_of(problems: int) -> list[Question]:
    """The questions of an examination with so many of each number of hops."""
    random = Random(f"{SEED}/lookup")
    return [question(random, hops) for hops in range(1, MOST_HOPS + 1) for _ in range(problems)]


def _succeeds(played: Played, factor: float) -> float:
    return float(played.right and played.steps is not None and played.steps <= round(played.least * factor))


async def _all(exam: Exam, tasks: Sequence[Task], looks: bool = True) -> list[Played]:
    """Play episodes side by side, as many as the engine has slots, so that each finds its last turns still there."""
    slots = asyncio.Semaphore(SLOTS)

    async def play(task: Task) -> Played:
        async with slots:
            return await _play(exam, task, looks)

    return await asyncio.gather(*map(play, tasks))


async def _play(exam: Exam, task: Task, looks: bool) -> Played:
    """Play an episode, with a second look or without."""
    least = task.calls + 1
    talk = acting(Problem("p", task.text))
    steps, text, talk, malformed = await _act(exam, task, talk, FACTOR * least)
    if text is None:
        return Played(least, None, False, None, malformed)
    right = extract(text) == task.answer
    if not looks:
        return Played(least, steps, right, None, malformed)
    _, text, _, more = await _act(exam, task, (*talk, Message("user", CHECK_AGAIN)), FACTOR * least)
    return Played(least, steps, right, text is not None and extract(text) == task.answer, malformed + more)


async def _act(exam: Exam, task: Task, talk: Prompt, most: int) -> tuple[int, str | None, Prompt, int]:
    """Act until there is an answer, or for so many steps: the steps, the answer's text, the chat, and the calls that
    could not be carried out. A chat that grows beyond the context has no answer."""
    malformed = 0
    for step in range(1, most + 1):
        try:
            completion = await exam.engine.complete(Request(talk, SAMPLING, tools=tuple(task.tools)))
        except ContextTooLong:
            break
        talk = (*talk, completion.message)
        if not completion.tool_calls:
            return step, completion.text, talk, malformed
        for call in completion.tool_calls:
            refused = refusal(call, task.tools)
            malformed += refused is not None
            talk = (*talk, refused or call.result(called(task.links, call.name, call.parsed or {})))
    return most, None, talk, malformed
