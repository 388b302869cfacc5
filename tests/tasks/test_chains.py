"""Chains of arithmetic: what is told is what is computed, read back by someone who did not write it."""

import re
from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.answers.equivalence import extract
from tts.errors import InvalidParameter, UnknownName
from tts.tasks.chains import END, LARGEST, LEVELS, Level, chain
from tts.tasks.sources import load

SIGNS = {
    "+": r"\badd\b|grows by|increased by|brings|arrive|wins|bonus",
    "-": r"subtract|shrinks by|reduced by|takes|are sold|loses|penalty",
    "*": r"multipl|times as",
}


def read(text: str) -> tuple[int, int, int]:
    """The first number, the steps and the answer, from the words alone."""
    opening, *sentences = re.split(r"(?<=\.) ", text.removesuffix(END).strip())
    start = value = int(re.findall(r"\d+", opening)[0])
    steps = 0
    for sentence in sentences:
        signs = [sign for sign, words in SIGNS.items() if re.search(words, sentence, re.IGNORECASE)]
        if not signs:
            continue  # beside the point, or the question
        (sign,), (number,) = signs, re.findall(r"\d+", sentence)
        value = {"+": value + int(number), "-": value - int(number), "*": value * int(number)}[sign]
        steps += 1
    return start, steps, value


@given(level=st.sampled_from(LEVELS), seed=st.integers(0, 10**6))
def test_a_chain_says_in_words_what_its_answer_follows_from(level: Level, seed: int) -> None:
    made = chain(Random(seed), level)
    assert read(made.text) == (made.start, len(made.steps), made.answer)
    assert level.steps[0] <= len(made.steps) <= level.steps[1]
    assert all(0 <= value <= LARGEST for value in made.values)
    assert made.text.endswith(END)
    assert extract(f"Answer: {made.answer}") == str(made.answer)


def test_levels_grow_longer() -> None:
    assert all(easier.steps[1] < harder.steps[0] for easier, harder in pairwise(LEVELS))


def test_the_source_gives_the_levels_by_turns_and_the_same_each_time() -> None:
    task = load("chain?size=60&seed=7&levels=2,4")
    assert task == load("chain?size=60&seed=7&levels=2,4")
    assert task.grader == "exact"
    assert Counter(example.problem.facts["level"] for example in task.examples) == {2: 30, 4: 30}
    for example in task.examples:
        _, steps, answer = read(example.problem.prompt)
        least, most = LEVELS[int(example.problem.facts["level"]) - 1].steps
        assert least <= steps <= most
        assert example.reference == str(answer)
    assert load("chain?size=9&seed=1", limit=3).examples == load("chain?size=3&seed=1").examples
    assert load("chain?size=3&seed=1").examples != load("chain?size=3&seed=2").examples
    assert {example.problem.facts["level"] for example in load("chain").examples} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("chain?levels=6", UnknownName, "level of chain"),
        ("chain?levels=", UnknownName, "level of chain"),
        ("chain?level=1", UnknownName, "Did you mean 'levels'"),
        ("chain?size=0", InvalidParameter, "size"),
        ("chain?size=many", InvalidParameter, "size"),
    ],
)
def test_a_chain_that_cannot_be_is_refused(source: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(source)
