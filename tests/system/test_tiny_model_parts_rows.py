"""The rows of the small model's card on parts, plans, hints and debates, over an engine whose figures are known."""

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.tiny_model.examination import debating, decomposing, hinting
from benchmarks.tiny_model.examination.decomposing import bought
from benchmarks.tiny_model.examination.exam import Exam, Said
from benchmarks.tiny_model.lessons.hinting import followed, hinted
from benchmarks.tiny_model.lessons.planning import constraints_of, judged
from benchmarks.tiny_model.lessons.school import School
from benchmarks.tiny_model.lessons.splitting import listed
from benchmarks.tiny_model.teachers import parts
from benchmarks.tiny_model.teachers.arguments import argument
from benchmarks.tiny_model.teachers.teacher import Item
from tts.tasks.chains import Chain
from tts.toolkit.prompts.debate import hidden
from tts.types import Completion

PROBLEMS = 6
Believes = Callable[[str, list[str]], str]


class Fake:
    """An engine that takes chains apart, hints and argues as a teacher without slips, and solves with them.

    Args:
        believes: the answer that a judge gives, of the right one and those that were argued for, in order.
        broken: the prompt that holds these words has an empty reply.
    """

    def __init__(self, school: School, believes: Believes, broken: str) -> None:
        self._teacher, self._random, self._believes, self._broken = (
            school.teachers["chain"],
            Random(7),
            believes,
            broken,
        )
        self.made: dict[str, Chain] = {}
        self._parts: dict[str, tuple[parts.Steps, int]] = {}

    async def say(self, turns: Any) -> tuple[str, int]:
        prompt = turns[-1].content
        if self._broken in prompt:
            return "", 0
        reply = self._part(prompt) if prompt.startswith("Known:") else self._reply(prompt)
        return reply, len(reply)

    async def complete(self, request: Any) -> Completion:
        prompt = request.messages[-1].content
        problem, options = prompt.split("\n\n")[:2]
        (made,) = [made for made in self.made.values() if hidden(made.text) in problem]
        answers = re.findall(r"[AB]: (\d+)", options)
        believed = self._believes(str(made.answer), re.findall(r", for (\d+):", prompt))
        return Completion("" if self._broken in prompt else f"Verdict: {'AB'[answers.index(believed)]}")

    def _reply(self, prompt: str) -> str:
        made = next(made for text, made in self.made.items() if prompt.startswith(text))
        asked = prompt.removeprefix(made.text)
        if not asked:
            return self._teacher.direct(self._random, Item(made.text, made))
        shown = asked.strip().split("\n\n")
        replies = {
            "Split it": lambda: self._split(made),
            "These parts": lambda: f"Answer: {shown[0].rpartition(' ')[2]}",
            "shorter problem": lambda: self._contracted(made, int(shown[0].rpartition(" ")[2])),
            "one a line, numbered": lambda: listed(constraints_of(made)),
            "Score: N": lambda: f"Score: {judged(self._random, made, shown[1], 0.0)[1]}",
            "Hint: ...": lambda: f"Hint: {hinted(self._random, made, shown[0], 0.0)[1]}",
            "teacher's hint": lambda: followed(
                self._random, made, shown[0], hinted(self._random, made, shown[0], 0.0)[2]
            ),
            "Convince": lambda: argument(self._random, made, int(asked.split("the answer is ")[1].split(".")[0])),
        }
        return next(reply() for words, reply in replies.items() if words in asked)

    def _split(self, made: Chain) -> str:
        texts = parts.questions(made)
        self._parts |= {text: (parts.steps_of(made, n), made.start) for n, text in enumerate(texts, 1)}
        return listed(texts)

    def _contracted(self, made: Chain, value: int) -> str:
        left = parts.rest(made, parts.STEPS, value)
        return self.made.setdefault(left.text, left).text

    def _part(self, prompt: str) -> str:
        known, question = prompt.split("\n\n")[:2]
        steps, start = self._parts[question.removeprefix("Question: ")]
        value = int(known.rpartition(" ")[2]) if "#" in question else start
        return parts.careful(self._random, value, steps, 0.0)


def rows(
    *groups: Callable[[Exam], Any], believes: Believes = lambda right, said: right, broken: str = "~"
) -> list[str]:
    school = School({"countdown": ["{target} {numbers}"], "sudoku": ["{puzzle}"]})
    exam = Exam(engine := Fake(school, believes, broken), school, PROBLEMS)  # type: ignore[arg-type]
    sit = exam.sit

    async def noted(kind: str, items: Any, n: int, system: str | None = None) -> Any:
        engine.made |= {item.prompt: item.data for item in items}
        return await sit(kind, items, n, system)

    exam.sit = noted  # type: ignore[method-assign]

    async def examined() -> None:
        for group in groups:
            await group(exam)

    asyncio.run(examined())
    return exam.lines


def test_parts_without_slips_are_always_right_and_so_are_contractions_but_for_the_last_direct_attempt() -> None:
    split, contracted = rows(decomposing.parts)
    assert "| 1.00 at " in split and split.endswith("| met |")
    direct, majority = (float(re.search(rf"{name} (\d\.\d\d)", split)[1]) for name in ("direct", "tokens buy"))  # type: ignore[index]
    assert direct < 0.3 and majority < 0.6
    assert float(re.search(r"\| (\d\.\d\d) at", contracted)[1]) > direct + 0.4  # type: ignore[index]


@pytest.mark.parametrize("broken", ["Split it", "Answer only this question", "These parts"])
def test_parts_that_cannot_be_read_are_wrong_and_lose_nothing(broken: str) -> None:
    split, _ = rows(decomposing.parts, broken=broken)
    assert "| 0.00 at " in split and split.endswith("| **missed** |")


def test_an_exact_check_of_plans_scores_every_right_one_higher() -> None:
    assert "| 1.00 of " in rows(decomposing.plans)[0]
    (unread,) = rows(decomposing.plans, broken="Score: N")
    assert "| no pairs; " in unread and "; 0 not read" not in unread


def test_exact_hints_name_the_mistake_and_not_the_answer_and_fix_most_answers() -> None:
    quality, own, exact = rows(hinting.hints)
    assert "| 100 %; 0 %; 0 of " in quality
    assert all(int(re.search(r"\| (\d+) %", row)[1]) > 40 for row in (own, exact))  # type: ignore[index]
    quality, own, exact = rows(hinting.hints, broken="Hint: ...")
    assert "| 0 %; 0 %; " in quality and "| none of 0 |" in own and " % of " in exact


def test_a_judge_that_believes_whoever_speaks_first_is_right_half_of_the_time() -> None:
    (row,) = rows(debating.debates, believes=lambda right, said: said[0] if said else right)
    assert "+0.0 ± 0.0 points: 0.500 and 0.500 on " in row and "1.000 where nobody has argued; 0 verdicts" in row


def test_a_judge_that_needs_both_sides_gains_by_debate() -> None:
    (row,) = rows(debating.debates, believes=lambda right, said: right if len(said) != 1 else said[0])
    assert "+50.0 ± 0.0 points: 1.000 and 0.500 on " in row


def test_verdicts_that_are_not_read_are_counted_and_decide_nothing() -> None:
    (row,) = rows(debating.debates, broken="Verdict: A or B")
    count = int(re.search(r"on (\d+) problems", row)[1])  # type: ignore[index]
    assert "0.500 and 0.500 on " in row and f"{8 * count} verdicts not read" in row


def test_what_a_number_of_tokens_buys_lies_between_the_majorities_of_whole_attempts() -> None:
    items = [Item(f"p{i}", None) for i in range(2)]
    texts = [["1"] * 6 + ["2"] * 4 + ["3"] * 6, ["2"] * 16]
    groups = [[Said(f"Answer: {text}", 9, text == "1") for text in given] for given in texts]
    one, two, three, all_of_them = (bought(items, groups, count) for count in (0.4, 2.0, 3.0, 99.0))
    assert one.tolist() == [6 / 16, 0.0] and all_of_them[0] == 0.5  # of two answers with six votes each
    assert bought(items, groups, 2.25) == pytest.approx(0.75 * two + 0.25 * three)
    assert three[0] != pytest.approx(two[0])
