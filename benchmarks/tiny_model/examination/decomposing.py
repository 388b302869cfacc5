"""Rows on chains in parts, of the hardest level: split, solved part by part and put together; contracted again and
again; and on the scores that plans get."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from benchmarks.tiny_model.examination.exam import Exam, Said
from benchmarks.tiny_model.examination.figures import interval, singles
from benchmarks.tiny_model.lessons.lesson import asked
from benchmarks.tiny_model.teachers.teacher import Item
from tts.answers.equivalence import extract
from tts.estimators.votes import majority
from tts.pools.grid import Grid
from tts.tasks.chains import LEVELS
from tts.toolkit.prompts.decomposition import COMBINE, CONTRACT, NOTHING, SPLIT, contracted, known, part, questions
from tts.toolkit.prompts.plans import CONSTRAINTS, followed, mark

EACH = 2  # tries of a problem


class Asker:
    """Asks, and counts the tokens of the replies."""

    def __init__(self, exam: Exam) -> None:
        self._engine, self.tokens = exam.engine, 0

    async def ask(self, prompt: str) -> str:
        text, tokens = await self._engine.say(asked(prompt))
        self.tokens += tokens
        return text


async def parts(exam: Exam) -> None:
    items, groups, levels = await exam.chains()
    hard = np.flatnonzero(levels == len(LEVELS))
    items, groups = [items[i] for i in hard], [groups[i] for i in hard]
    direct, price = singles(groups), np.mean([said.tokens for group in groups for said in group])
    for name, solve in (("split, parts solved, combined", _split), ("contracted until nothing depends on it", _atoms)):
        replies = await asyncio.gather(*(solve(exam, item) for item in items for _ in range(EACH)))
        tried = [replies[i : i + EACH] for i in range(0, len(replies), EACH)]
        cost = float(np.mean([said.tokens for said in replies]))
        voted = bought(items, groups, cost / price)
        lead = singles(tried) - direct
        measured = (
            f"{singles(tried).mean():.2f} at {cost:.0f} tokens; direct {direct.mean():.2f} at {price:.0f}, "
            f"majority of the {cost / price:.1f} attempts that {cost:.0f} tokens buy {voted.mean():.2f}; "
            f"{interval(lead, 100)} over one attempt, {interval(singles(tried) - voted, 100)} over the majority"
        )
        if solve is _split:
            met = lead.mean() >= 0.1 and (singles(tried) - voted).mean() >= 0.1
            exam.row(f"level 5: {name}", ">= +10 points over direct at its tokens", measured, met)
        else:
            exam.note(f"level 5: {name}", measured)


async def plans(exam: Exam) -> None:
    """How often the score of a right solution is above that of a wrong one of the same problem."""
    items, groups, _ = await exam.chains()
    mixed = [(item, *pair) for item, group in zip(items, groups, strict=True) if (pair := _pair(group))]
    scores = await asyncio.gather(*(_score(exam, item, said) for item, *pair in mixed for said in pair))
    pairs = [(a, b) for a, b in zip(scores[::2], scores[1::2], strict=True) if a is not None and b is not None]
    wins = [(a > b) + 0.5 * (a == b) for a, b in pairs]
    unread = sum(score is None for score in scores)
    shown = f"{np.mean(wins):.2f} of {len(wins)} pairs" if wins else "no pairs"
    exam.note(
        "a right solution is scored above a wrong one, by its own list of constraints", f"{shown}; {unread} not read"
    )


async def _split(exam: Exam, item: Item) -> Said:
    asker = Asker(exam)
    texts = questions(await asker.ask(SPLIT.format(problem=item.prompt))) or []
    answers: dict[int, str] = {}
    for number, text in enumerate(texts, 1):
        answer = extract(await asker.ask(part(text, known(texts, answers))))
        if answer is not None:
            answers[number] = answer
    reply = await asker.ask(COMBINE.format(problem=item.prompt, known=known(texts, answers)))
    return _said(exam, item, asker, reply)


async def _atoms(exam: Exam, item: Item) -> Said:
    """Split, the first part solved, and the problem contracted by it, until it has one part; that is solved."""
    asker, problem = Asker(exam), item.prompt
    for _ in item.data.steps:
        texts = questions(await asker.ask(SPLIT.format(problem=problem))) or []
        if len(texts) < 2:
            break
        answer = extract(await asker.ask(part(texts[0], NOTHING)))
        if answer is None:
            break
        prompt = CONTRACT.format(problem=problem, known=known(texts, {1: answer}))
        problem = contracted(await asker.ask(prompt)) or problem
    return _said(exam, item, asker, await asker.ask(problem))


async def _score(exam: Exam, item: Item, said: Said) -> int | None:
    asker = Asker(exam)
    constraints = await asker.ask(CONSTRAINTS.format(problem=item.prompt))
    return mark(await asker.ask(followed(item.prompt, constraints, said.text)))


def _said(exam: Exam, item: Item, asker: Asker, reply: str) -> Said:
    return Said(reply, asker.tokens, exam.school.teachers["chain"].right(item, reply))


def _pair(group: Sequence[Said]) -> tuple[Said, Said] | None:
    """The first right and the first wrong one."""
    right = [said for said in group if said.right]
    wrong = [said for said in group if not said.right]
    return (right[0], wrong[0]) if right and wrong else None


def bought(items: Sequence[Item], groups: Sequence[Sequence[Said]], count: float) -> np.ndarray:
    """Of each problem, how often the majority of so many attempts is right. 2.3 are 3 or else 2; less than 1 is 1."""
    answers = [[extract(said.text) for said in group] for group in groups]
    classes = np.array([[-1 if one is None else given.index(one) for one in given] for given in answers])
    right = np.array([[said.right for said in group] for group in groups])
    names = tuple(item.prompt for item in items)
    grid = Grid(names, np.full(len(groups), right.shape[1]), classes, right, None, classes >= 0, {}, {})
    low = min(max(int(count), 1), right.shape[1] - 1)
    share = min(max(count - low, 0.0), 1.0)
    found = majority(grid, [low, low + 1]).accuracy
    return found[:, 0] * (1 - share) + found[:, 1] * share
