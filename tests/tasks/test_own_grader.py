"""A grader of the user's own, as the worker calls it: what it is given, and what it may return."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tts.errors import CallFailed, CallTimedOut, InvalidParameter, UnknownName
from tts.tasks.own_grader import OwnGrader, check, graded
from tts.types import Problem
from tts.workers.killable_processes import Workers

MINE = """
import numpy as np

def two(answer, reference): return answer == reference
def three(answer, reference, problem): return problem.facts["right"] == answer
def default(answer, reference, problem=None): return problem is not None
def of_numpy(answer, reference): return np.float64(answer) > 1
def unknown(answer, reference): return None
def half(answer, reference): return 0.5
def text(answer, reference): return "yes"
def one(answer): return True
def four(answer, reference, problem, more): return True
async def waits(answer, reference): return True
def spins(answer, reference):
    while True: pass
"""
PROBLEM = {"id": "p", "prompt": "?", "facts": {"right": "2"}}


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path}/mine.py"


@pytest.mark.parametrize(
    ("name", "verdict"), [("two", False), ("three", True), ("default", True), ("of_numpy", True), ("unknown", None)]
)
def test_a_function_of_two_or_three_arguments_gives_a_verdict(name: str, verdict: bool | None, mine: str) -> None:
    check(f"{mine}:{name}")
    found = graded(f"{mine}:{name}", "2", "3", PROBLEM)
    assert found is verdict and not isinstance(found, np.bool)


@pytest.mark.parametrize("name", ["half", "text"])
def test_what_is_neither_right_nor_wrong_nor_unknown_is_no_verdict(name: str, mine: str) -> None:
    with pytest.raises(CallFailed, match="must return True, False or None, but returned"):
        graded(f"{mine}:{name}", "2", "3", PROBLEM)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("one", InvalidParameter, r"one takes \(answer\)"),
        ("four", InvalidParameter, r"four takes \(answer, reference, problem, more\)"),
        ("waits", InvalidParameter, "waits is another thing"),
        ("np", InvalidParameter, "np is another thing"),
        ("none", UnknownName, "has no none"),
    ],
)
def test_a_function_that_cannot_grade_is_refused(name: str, error: Any, said: str, mine: str) -> None:
    with pytest.raises(error, match=said):
        check(f"{mine}:{name}")


def test_a_function_that_never_returns_is_ended_at_its_limit_and_says_nothing_of_the_answer(mine: str) -> None:
    async def main() -> None:
        async with Workers(1, private=True) as workers:
            grader = OwnGrader(f"{mine}:spins", workers, timeout_s=0.2)
            assert await grader.grade(None, "3", Problem("p", "?")) is False
            with pytest.raises(CallTimedOut):
                await grader.grade("2", "3", Problem("p", "?"))

    asyncio.run(main())
