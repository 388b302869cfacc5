"""A thought that ends once its answer has stayed the same for much longer than ever before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.core.actions import Request
from tts.strategies.thinking.es_cot import has_jumped, steps, tail
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.testing.cluster import Outcome


class TestEarlyStoppingChainOfThought(StrategyContract):
    strategy = "es_cot:jump=2,every=8,probe=6,think=48,answer=16"
    worlds = range(3)
    test_another_process_gives_the_same_journal = None  # all of this folder together, in test_other_processes.py

    def text(self, request: Request, draw: object) -> str:
        return "4\n" * 6 if request.continue_from == "<think>\n" else "Answer: 4"


def of(*runs: int) -> list[str]:
    """Answers in runs of these lengths."""
    return [str(number) for number, length in enumerate(runs) for _ in range(length)]


@pytest.mark.parametrize(
    ("runs", "jump", "p", "ends"),
    [
        ((9,), 10, 0.05, False),  # a first run counts from 0
        ((10,), 10, 0.05, True),
        ((1, 10), 10, 0.05, False),
        ((1, 11), 10, 0.05, True),
        # Differences 1, -1, 2, -1, and then 11 against their mean 0.25 and deviation 1.5: t(3) = 14.33, p = 0.00037.
        ((1, 2, 1, 3, 2, 13), 10, 0.05, True),
        ((1, 2, 1, 3, 2, 13), 10, 0.0003, False),
        ((1, 2, 1, 3, 2, 13), 10, 0.0004, True),
        # Differences 4, -4, and then 5 against their mean 0 and deviation 5.657: t(1) = 1.25, p = 0.2148.
        ((1, 5, 1, 6), 5, 0.05, False),
        ((1, 5, 1, 6), 5, 0.2147, False),
        ((1, 5, 1, 6), 5, 0.2149, True),
        ((1, 2, 3, 4, 9), 5, 0.05, True),  # differences that do not differ among themselves
        ((1, 6, 11, 16), 5, 0.05, False),  # nor from the latest
    ],
)
def test_the_run_length_test_to_the_digit(runs: tuple[int, ...], jump: int, p: float, ends: bool) -> None:
    assert has_jumped(of(*runs), jump, p) is ends


def test_a_probe_without_an_answer_ends_a_run_and_no_thought() -> None:
    assert not has_jumped([], 1, 0.05)
    assert not has_jumped([*of(10), None], 10, 0.05)
    assert not has_jumped([None] * 20, 10, 0.05)
    assert not has_jumped(["4"] * 9 + [None] + ["4"] * 9, 9, 0.05)
    assert has_jumped(["4"] * 9 + [None] + ["4"] * 10, 9, 0.05)


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 6.313752), (2, 2.919986), (3, 2.353363), (4, 2.131847), (9, 1.833113), (30, 1.697261)]
)
def test_the_tail_of_student_s_distribution_is_that_of_the_tables(freedom: int, t: float) -> None:
    assert tail(t, freedom) == pytest.approx(0.05, abs=1e-7)


@given(st.integers(1, 60), st.floats(0, 50), st.floats(0, 50))
def test_the_tail_falls_from_a_half_to_nothing(freedom: int, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert tail(0, freedom) == 0.5
    assert -1e-12 <= tail(high, freedom) <= tail(low, freedom) + 1e-12 <= 0.5 + 1e-9


def test_a_step_is_a_line_that_is_whole_and_not_empty() -> None:
    assert steps("<think>\n1\n\n 2\n3") == ["<think>\n", "<think>\n1\n", "<think>\n1\n\n 2\n"]


def ran(answers: str, **params: object) -> Outcome:
    """A thought of so many lines, two tokens each, that give these answers when they are probed."""

    def speak(request: Request, number: int) -> Sample:
        if request.continue_from == "<think>\n":
            count = len(answers)
            text = "".join(f"{place:05}\n" for place in range(1, count + 1))
            return Sample(text=text, tokens=2 * count, seconds=2.0 * count, stopped_by="</think>")
        if request.sampling.max_tokens == 20:
            place = int(request.continue_from.split("\n</think>")[0][-5:])
            return Sample(text=f" {answers[place - 1]}", tokens=2, seconds=0.1)
        return Sample(text="Answer: 9", tokens=3)

    return ScriptedCluster(speak).run("es_cot", every=4, think=400, answer=30, **params)


def test_every_step_is_probed_once_and_the_jump_ends_the_thought() -> None:
    outcome = ran("121122" + "3" * 8 + "4444", jump=5)  # runs of 1, 1, 1, 2 and 2, and then 7
    probed = [a.request.continue_from for a in outcome.generated if a.helps]
    assert [int(text.split("\n</think>")[0][-5:]) for text in probed] == [*range(1, 14)]
    assert (outcome.result.answer, len(outcome.cancelled)) == ("3", 1)
    assert outcome.result.bill.verifier.samples == 13


def test_a_thought_without_a_jump_is_answered_after_its_end() -> None:
    outcome = ran("12" * 6, jump=5)
    assert (outcome.result.answer, outcome.cancelled) == ("9", [])
    assert sum(a.helps for a in outcome.generated) == 12


@pytest.mark.parametrize(
    ("given", "rule"), [("jump=0", "jump must be at least 1, but got 0"), ("p=1.0", "p must be a probability above 0")]
)
def test_a_number_that_is_none_is_refused_before_anything_is_paid_for(given: str, rule: str) -> None:
    outcome = ScriptedCluster(["4"] * 4).run(f"es_cot:{given}")
    assert outcome.result.error.message.startswith(rule)
    assert not outcome.generated
