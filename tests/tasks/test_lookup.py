"""The lookup world: a question's answer is found by its tools, in as many calls as it says, and by nothing less."""

import asyncio
import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.answers.equivalence import extract
from tts.errors import InvalidParameter, UnknownName
from tts.tasks.graders import ExactGrader
from tts.tasks.lookup import END, MOST_HOPS, NAMES, PLACES, Question, question
from tts.tasks.sources import load
from tts.toolkit.environments.lookup import called

ANY = st.builds(question, st.randoms(use_true_random=False), st.integers(1, MOST_HOPS))


def played(made: Question) -> tuple[str, int]:
    """The answer and the calls of somebody who reads the words of a question and has the tools."""
    asked = made.text.removesuffix(END).partition(";")[2]
    starts = [word for word in re.findall(r"\w+", asked) if word in made.links]
    lengths = [int(number) for number in re.findall(r"\d+(?= links?\b)", asked)]
    calls, ends = 0, []
    for start, length in zip(starts, lengths, strict=True):
        key = start
        for _ in range(length):
            key, calls = called(made.links, "lookup", {"key": key}), calls + 1
        ends.append(key)
    if len(ends) == 1:
        return ends[0], calls
    return called(made.links, "calculate", {"expression": "+".join(ends)}), calls + 1


@given(made=ANY)
def test_the_words_of_a_question_lead_to_its_answer_in_its_number_of_calls(made: Question) -> None:
    assert played(made) == (made.answer, made.calls)
    assert made.answer not in re.findall(r"\w+", made.text)
    assert extract(f"Answer: {made.answer}") == made.answer


@given(made=ANY)
def test_a_world_is_a_ring_of_names_numbers_and_places_that_no_question_shows(made: Question) -> None:
    assert sorted(made.links) == sorted(made.links.values())
    for key, leads_to in made.links.items():
        kinds = [key in NAMES, key.isdecimal(), key in PLACES]
        assert [leads_to in PLACES, leads_to in NAMES, leads_to.isdecimal()] == [kinds[1], kinds[2], kinds[0]]
    assert {*re.findall(r"\w+", made.text)} & made.links.keys() == {walk.start for walk in made.walks}


def test_no_lookup_serves_both_walks_of_a_sum() -> None:
    sums = [made for i in range(300) for made in [question(Random(i), 2 + i % 3)] if len(made.walks) == 2]
    assert len(sums) > 60
    for made in sums:
        one, two = ({*walk.keys(made.links)} for walk in made.walks)
        assert not one & two


def test_the_source_gives_the_hops_by_turns_and_the_same_each_time() -> None:
    task = load("lookup?size=40&seed=7&hops=2..3")
    assert task == load("lookup?size=40&seed=7&hops=2..3") and task.grader == "exact"
    assert Counter(example.problem.facts["hops"] for example in task.examples) == {2: 20, 3: 20}
    assert {example.problem.facts["hops"] for example in load("lookup").examples} == {1, 2, 3, 4}
    assert load("lookup?size=3&seed=1&hops=2").examples != load("lookup?size=3&seed=2&hops=2").examples
    for example in task.examples:
        assert example.reference is not None and example.problem.facts.keys() == {"hops", "links"}
        grades = [asyncio.run(ExactGrader().grade(extract(text), example.reference, example.problem))
                  for text in (f"Answer: {example.reference}", "Answer: 17", "Answer: Xanadu")]  # fmt: skip
        assert grades == [True, False, False]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("lookup?hops=5", UnknownName, "number of hops of lookup"),
        ("lookup?hops=0..2", UnknownName, "number of hops of lookup"),
        ("lookup?hops=", UnknownName, "number of hops of lookup"),
        ("lookup?hops=3..1", InvalidParameter, "a range such as 1..4"),
        ("lookup?hop=1", UnknownName, "Did you mean 'hops'"),
        ("lookup?size=0", InvalidParameter, "size"),
    ],
)
def test_a_world_that_cannot_be_is_refused(source: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(source)
