"""The rows of the small model's card on judging, over judges whose figures are known: one that knows all, one that
always says the same."""

import asyncio
import math
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.tiny_model.examination.exam import Exam
from benchmarks.tiny_model.examination.figures import auc, spearman
from benchmarks.tiny_model.examination.judging import choosing, comparing, merging, scoring, stepping
from benchmarks.tiny_model.lessons.school import School
from benchmarks.tiny_model.teachers.agreement import agreement, right_steps
from benchmarks.tiny_model.teachers.teacher import Item
from tts.types import Completion, LogprobSummary, TokenLogprob

numbers = st.lists(st.integers(0, 4), min_size=2, max_size=9)
ROWS = (comparing.comparisons, choosing.choices, scoring.scores, stepping.steps, merging.aggregates)


class Fake:
    """An engine that solves as a teacher does, slips and all, and judges as `judge(item, prompt)` says."""

    def __init__(self, school: School, judge: Callable[[Item, str], str]) -> None:
        self.school, self.judge, self.random = school, judge, Random(7)
        self.items: list[Item] = []

    async def say(self, turns: Any, most: int = 0, temperature: float = 1.0) -> tuple[str, int]:
        prompt = turns[-1].content
        item = next(item for item in self.items if prompt.startswith(item.prompt))
        teacher = self.school.teachers["chain" if item.prompt.endswith('"Answer: N".') else "countdown"]
        return (teacher.direct(self.random, item) if prompt == item.prompt else self.judge(item, prompt)), 9

    async def complete(self, request: Any) -> Completion:
        prompt = request.messages[-1].content
        sign = self.judge(next(item for item in self.items if prompt.startswith(item.prompt)), prompt)
        return Completion(sign, logprobs=LogprobSummary(-0.1, -0.1, tail=(TokenLogprob(sign, math.log(0.9)),)))


def rows(judge: Callable[[Item, str], str]) -> list[str]:
    school = School({"countdown": ["{target} {numbers}"], "sudoku": ["{puzzle}"]})
    exam = Exam(engine := Fake(school, judge), school, 12)  # type: ignore[arg-type]
    sit = exam.sit

    async def noted(kind: str, items: Any, n: int, system: str | None = None) -> Any:
        engine.items += items
        return await sit(kind, items, n, system)

    exam.sit = noted  # type: ignore[method-assign]

    async def examined() -> None:
        for group in ROWS:
            await group(exam)

    asyncio.run(examined())
    return exam.lines


def knows(item: Item, prompt: str) -> str:
    """What a judge says who overlooks nothing."""
    parts = prompt.removeprefix(item.prompt).split("\n\n")
    texts = [part.partition("\n")[2] for part in parts if part.startswith(("Solution", "A solution"))]
    if not hasattr(item.data, "steps"):
        return "[[C]]" if "[[C]]" in prompt else texts[0]
    if "its last step right" in prompt:
        return "+" if right_steps(item.data, texts[0])[-1] else "-"
    if "Score: N" in prompt:
        return f"Score: {10 if right_steps(item.data, texts[0])[-1] else 2 + sum(right_steps(item.data, texts[0])[:4])}"
    if "one better solution" in prompt:
        return f"Answer: {item.data.answer}"
    kept = agreement(Random(1), item.data, {str(i): text for i, text in enumerate(texts)}, [0.0] * len(texts)).kept
    if "[[C]]" in prompt:
        return "[[C]]" if kept[0] == kept[1] else "[[A]]" if kept[0] > kept[1] else "[[B]]"
    return f"[[{kept.index(max(kept)) + 1}]]"


def figure(row: str) -> float:
    """The first number of what was measured."""
    return float(row.split(" | ")[2].split(maxsplit=1)[0].rstrip(","))


def test_a_judge_that_knows_all_is_too_good_and_shows_no_bias() -> None:
    pair, bias, other, best, _consistent, scores, _rubric, steps, *_bins, merged, _merged = rows(knows)
    assert figure(pair) > 0.98 and pair.endswith("0 not read | **missed** |")  # but where two slips cancel
    assert "| 0.50, 0.50, 0.00; " in bias
    assert "| 0.000 of " in other  # it says of all pairs of CountDown that they are tied
    assert figure(best) > 30 and best.endswith("| met |")
    assert figure(scores) > 0.85 and scores.endswith("| **missed** |")  # the mean of equal scores is no better than one
    assert "| 1.000 of " in steps and steps.endswith("| **missed** |")
    assert "to 1.00, majority" in merged and merged.endswith("| met |")


def test_a_judge_that_always_says_the_same_is_right_half_of_the_time_and_its_bias_is_shown() -> None:
    def same(item: Item, prompt: str) -> str:
        for asked, reply in (("[[C]]", "[[A]]"), ("[[1]]", "[[1]]"), ("Score: N", "Score: 5"), ("+ or -", "+")):
            if asked in prompt:
                return reply
        return "Answer: -1"

    pair, bias, _other, _best, _consistent, scores, _rubric, steps, _bins, merged, _merged = rows(same)
    assert "| 0.500 of " in pair and "0.00 right, 0.00 wrong, 1.00 tied" in pair
    assert "1.00, 0.00, 0.00; the right one is preferred in 1.00 where it is first, in 0.00 where it is second" in bias
    assert "| nan, nan of " in scores and "**missed**" in scores
    assert "| 0.500 of " in steps
    assert "to 0.00, majority" in merged and "; 0 % of " in merged


@given(a=numbers, labels=st.data())
def test_auc_is_the_share_of_pairs_in_order(a: list[int], labels: st.DataObject) -> None:
    right = labels.draw(st.lists(st.booleans(), min_size=len(a), max_size=len(a)))
    pairs = [(x > y) + 0.5 * (x == y) for x, p in zip(a, right, strict=True) if p
             for y, q in zip(a, right, strict=True) if not q]  # fmt: skip
    expected = sum(pairs) / len(pairs) if pairs else math.nan
    assert auc(np.array(a), np.array(right)) == pytest.approx(expected, nan_ok=True)


@given(a=numbers)
def test_ranks_correlate_wholly_with_themselves_and_with_what_grows_alike(a: list[int]) -> None:
    x = np.array(a)
    expected = 1.0 if len(set(a)) > 1 else math.nan
    assert spearman(x, np.exp(x)) == pytest.approx(expected, nan_ok=True)
    assert spearman(x, -x) == pytest.approx(-expected, nan_ok=True)
