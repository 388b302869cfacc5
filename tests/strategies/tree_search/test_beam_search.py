"""Beams over steps."""

from typing import Any

import pytest
from trees import Brief, Thorough, prefixes, tree

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.plugins.verifiers import verifier
from tts.testing import Outcome, Sample, ScriptedCluster
from tts.types import LogprobSummary, TokenLogprob

ROOT = [("a", 0.1), ("b", 0.9), ("c", 0.5), ("d", 0.7)]


class TestBeamSearch(Brief):
    strategy = "beam_search:n=4,m=2,depth=4"

    def counted(self, n: int) -> dict[str, Any]:
        return {"n": n, "m": min(2, n)}


class TestBeamSearchWithLookahead(TestBeamSearch):
    strategy = "beam_search:n=4,m=2,depth=4,lookahead=1,verifier=judge"


@pytest.mark.system
class TestBeamSearchThoroughly(Thorough):
    strategy = "beam_search:n=4,m=2,depth=4"

    def counted(self, n: int) -> dict[str, Any]:
        return {"n": n, "m": min(2, n)}


def ran(script: Any, **params: Any) -> Outcome:
    return ScriptedCluster(script).run("beam_search:n=4,m=2,verifier=judge", **params)


def test_the_best_prefixes_are_kept_level_by_level_and_each_gets_as_many_next_steps() -> None:
    levels = {
        "": ROOT,
        "b\n": [("e", 0.2), ("f", 0.3)],
        "d\n": [("g", 0.8), ("h", 0.4)],
        "d\ng\n": [("=1", 0.3), ("=2", 0.4)],
        "d\nh\n": [("=1", 0.3), ("=3", 0.1)],
    }
    outcome = ran(tree(levels))
    assert prefixes(outcome) == {"": 4, "b\n": 2, "d\n": 2, "d\ng\n": 2, "d\nh\n": 2}
    assert outcome.result.answer == "1"  # 0.6 in all, against 0.4
    assert len(outcome.verified) == len(outcome.generated)


def test_solutions_keep_their_places_so_that_the_beam_narrows() -> None:
    levels = {"": [("=7", 0.9), ("b", 0.6), ("c", 0.5), ("d", 0.2)], "b\n": [("e", 0.5), ("=8", 0.1)]}
    outcome = ran(tree(levels))
    assert prefixes(outcome) == {"": 4, "b\n": 2, "c\n": 1, "b\ne\n": 1}
    assert outcome.result.answer == "7"


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ((0.5, 0.5, 0.5, 0.5), "ab"),  # of equals the first
        ((None, 0.0, None, 0.1), "bd"),  # an abstention ranks last, and 0 is a score
        ((None, None, None, 0.1), "ad"),
        ((None, None, None, None), "ab"),
    ],
)
def test_equals_and_abstentions_have_a_rule(scores: tuple[float | None, ...], kept: str) -> None:
    outcome = ran(tree({"": [*zip("abcd", scores, strict=True)]}))
    assert prefixes(outcome) == {"": 4} | {f"{name}\n": 2 for name in kept}


def test_a_prefix_is_scored_by_what_comes_of_it_and_what_was_looked_ahead_at_does_not_vote() -> None:
    def steps(request: Request, number: int) -> Sample:
        if request.sampling.temperature == 0.0:  # what comes of the first step turns out well
            return Sample("9", scores={"judge": 0.9 if request.continue_from == "plain\n" else 0.1})
        if request.continue_from:
            return Sample("1", scores={"judge": 0.2})
        return Sample(text=["plain", "shining"][number], stopped_by="\n", scores={"judge": [0.1, 0.9][number]})

    for lookahead, kept in ((0, "shining\n"), (1, "plain\n"), (3, "plain\n")):
        outcome = ran(steps, n=2, lookahead=lookahead)
        assert {a.request.continue_from for a in outcome.generated[-2:]} == {kept}
        assert len(outcome.generated) == (6 if lookahead else 4)  # a solution is looked ahead at no further
        assert outcome.result.answer == "1"


def test_a_step_ends_where_the_parameter_says() -> None:
    for stop, sent in (("## ", "## "), (r"\n\n", "\n\n")):
        outcome = ran(tree({"": ROOT}, sent), stop=stop)
        assert {action.request.sampling.stop for action in outcome.generated} == {(sent,)}
        assert prefixes(outcome) == {"": 4, f"b{sent}": 2, f"d{sent}": 2}


def test_texts_that_are_longer_than_the_depth_do_not_vote() -> None:
    outcome = ran(lambda request, number: Sample(text="Answer: 1", stopped_by="\n", scores={"judge": 0.5}), depth=3)
    assert (len(outcome.generated), outcome.result.answer, outcome.result.error) == (12, None, None)


def test_a_tree_that_is_wider_than_the_budget_ends_with_the_solutions_that_came() -> None:
    levels = {"": [("=7", 0.9), ("b", 0.6), ("c", 0.5), ("d", 0.2)]}
    result = ScriptedCluster(tree(levels), budget=Limits(samples=4)).run("beam_search:n=9,m=3,verifier=judge").result
    assert (result.answer, result.exhausted, len(result.candidates)) == ("7", True, 4)
    unsolved = ScriptedCluster(tree({"": ROOT}), budget=Limits(samples=4)).run("beam_search:n=9,verifier=judge").result
    assert (unsolved.answer, unsolved.exhausted, unsolved.error) == (None, True, None)


def test_a_prefix_is_judged_by_one_token_and_once_however_many_begin_with_it() -> None:
    def steps(request: Request, number: int) -> Sample:
        prompt = request.messages[-1].content
        if "last step" in prompt:
            assert request.sampling.max_tokens == 1
            sign = "-" if "bad\n\n" in prompt else "+"
            sure = LogprobSummary(-0.1, -0.1, tail=(TokenLogprob(sign, -0.1, ((sign, -0.1),)),))
            return Sample(text=sign, tokens=1, logprobs=sure)
        if request.continue_from.count("\n") == 2:
            return Sample("1")
        return Sample(text="bad" if number % 2 else "good", stopped_by="\n")

    outcome = ScriptedCluster(steps, verifiers={"prm": verifier("prm")}).run("beam_search:n=4,m=2,verifier=prm")
    judged = [prompt for prompt in outcome.prompts if "last step" in prompt]
    assert not any("bad" in action.request.continue_from for action in outcome.generated)
    assert outcome.result.bill.verifier.samples == len(judged) == len({*judged}) == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n": 0}, "n must be at least 1, but got 0"),
        ({"m": 0}, "m must be from 1 to n = 4, but got 0"),
        ({"m": 5}, "m must be from 1 to n = 4, but got 5"),
        ({"depth": 0}, "depth must be at least 1, but got 0"),
        ({"lookahead": -1}, "lookahead must be at least 0, but got -1"),
        ({"stop": ""}, "stop must be a string that is not empty"),
    ],
)
def test_what_is_no_tree_is_refused_before_anything_is_sampled(params: dict[str, Any], message: str) -> None:
    outcome = ran(tree({}), **params)
    error = outcome.result.error
    assert error is not None and error.message.startswith(message)
    assert not outcome.generated
