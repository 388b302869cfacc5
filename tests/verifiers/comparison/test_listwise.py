"""Choices from lists in several orders."""

import re

import pytest

from tts.testing import Sample, ScriptedCluster, VerifierContract
from tts.toolkit.prompts.lists import BEST, choice
from tts.types import Completion
from tts.verifiers.comparison.listwise import Listwise


class TestListwise(VerifierContract):
    verifier = "listwise"
    replies = (*map(Completion, ("The first. [[1]]", "[[9]]", "none", "[[1]] [[2]]", "", '{"best": 1}')),)


def judged(texts, best, **parameters):
    """The scores of texts, and the lists that the judge saw. `best`: its reply, of a list."""
    found, lists = [], []

    def model(request, number):
        asked = request.messages[-1].content
        if "is the best?" not in asked:
            return Sample(text=texts[number] if "double brackets" not in asked else "none", tokens=1)
        lists.append(re.findall(r"Solution \d:\n(\w+)", asked))
        assert asked == choice(BEST, "?", lists[-1])
        return Sample(text=best(lists[-1]), tokens=1)

    async def strategy(problem, run):
        candidates = await run.generate(n=len(texts))
        found.extend(await run.verify(candidates, "listwise"))
        return candidates[0]

    ScriptedCluster(model, verifiers={"listwise": Listwise(**parameters)}).run(strategy, "?")
    return found, lists


def test_a_solution_is_scored_by_the_part_of_its_lists_that_it_wins_whatever_its_place() -> None:
    scores, lists = judged([*"abcd"], lambda shown: f"[[{shown.index('c') + 1}]]", orders=3)
    assert [score.value for score in scores] == [0, 0, 1, 0]
    assert [sorted(each) for each in lists] == [[*"abcd"]] * 3 and len({*map(tuple, lists)}) > 1
    assert {(score.verdicts, score.text) for score in scores} == {(3, "0 in 3 games"), (3, "3 in 3 games")}


def test_more_solutions_than_a_window_are_shown_in_lists_of_nearly_equal_length() -> None:
    scores, lists = judged([*"abcdefg"], lambda shown: "[[1]]", orders=1, window=3)
    assert sorted(map(len, lists)) == [2, 2, 3]
    assert sorted(score.value for score in scores) == [0] * 4 + [1] * 3


def test_equal_solutions_are_shown_once_and_share_their_score_and_what_is_not_chosen_by_anybody_abstains() -> None:
    scores, lists = judged(["a", "b", "a", ""], lambda shown: f"[[{shown.index('a') + 1}]]", orders=1)
    assert [score.value for score in scores] == [1, 0, 1, None] and [*map(len, lists)] == [2]
    scores, _ = judged(["a", "b"], lambda shown: "the first", orders=2)
    assert [(score.value, score.verdicts, score.unread) for score in scores] == [(None, 2, 2)] * 2
    assert scores[0].text == "0 in 0 games; 2 of 2 replies unread"


@pytest.mark.parametrize("wrong", [{"orders": 0}, {"window": 1}, {"max_tokens": 0}])
def test_a_parameter_out_of_range_is_refused_by_its_name(wrong) -> None:
    (name,) = wrong
    with pytest.raises(Exception, match=f"{name} must be at least"):
        Listwise(**wrong)
