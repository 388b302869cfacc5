"""Comparisons in both orders: who wins, what is left out, and what is asked and paid for."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.core.budget import Limits
from tts.errors import InvalidParameter
from tts.testing import Sample, ScriptedCluster, VerifierContract
from tts.toolkit.prompts.pairs import AT_ONCE, REPAIR, comparison
from tts.types import Completion, LogprobSummary, TokenLogprob
from tts.verifiers.comparison.pairwise import Pairwise

PROBLEM = "What is 2 + 2?"


def at_verdict(**probabilities: float) -> LogprobSummary:
    top = tuple((label, math.log(p)) for label, p in probabilities.items())
    said = max(probabilities, key=probabilities.__getitem__)
    return LogprobSummary(-1.0, -1.0, tail=(TokenLogprob(said, dict(top)[said], top), TokenLogprob("]]", -0.1)))


class TestPairwise(VerifierContract):
    verifier = "pairwise"
    replies = (
        *map(Completion, ("The first. [[A]]", "[[B]]", "Even. [[C]]", "[[A]] and [[B]]", '{"verdict": "A"}', "", "A")),
        Completion("甲更好。"),
    )


class TestExpectedVerdictAtOnce(VerifierContract):
    verifier = "pairwise(reasons=false,expected=true,games=2,consistent=true,pivots=1)"
    replies = (Completion("[[A]]", logprobs=at_verdict(A=0.7, B=0.2)), Completion("[[B]]"), Completion("neither"))


def judged(texts, decide, *, budget=Limits(), **parameters):
    """The scores of texts, and the outcome. `decide`: the reply to a prompt, of the two solutions in it."""
    found = []

    def model(request, number):
        asked = request.messages[-1].content
        if "Solution A:" not in asked:
            repaired = decide(None, None) if asked == REPAIR else None
            return Sample(text=texts[number] if repaired is None else repaired, tokens=1)
        a, _, b = asked.partition("Solution A:\n")[2].partition("\n\nWhich solution")[0].partition("\n\nSolution B:\n")
        said = decide(a, b)
        return said if isinstance(said, Sample) else Sample(text=said, tokens=1)

    async def strategy(problem, run):
        candidates = await run.generate(n=len(texts))
        found.extend(await run.verify(candidates, "pairwise"))
        return candidates[0]

    made = {"pairwise": Pairwise(**parameters)}
    outcome = ScriptedCluster(model, verifiers=made, budget=budget).run(strategy, PROBLEM)
    return found, outcome


def values(scores):
    return [score.value for score in scores]


def test_a_pair_is_asked_about_in_both_orders_and_both_are_paid_for_as_verification() -> None:
    scores, outcome = judged(["one", "two"], lambda a, b: "[[A]]" if a == "one" else "[[B]]")
    asked = [a for a in outcome.generated if a.helps]
    assert [a.request.messages[-1].content for a in asked] == [
        comparison(PROBLEM, "one", "two"),
        comparison(PROBLEM, "two", "one"),
    ]
    assert {(a.request.sampling.temperature, a.request.sampling.max_tokens) for a in asked} == {(0.0, 512)}
    assert values(scores) == [1.0, 0.0]
    assert (scores[0].kind, scores[0].text, scores[0].verdicts, scores[0].unread) == (
        "probability",
        "2 in 2 games",
        2,
        0,
    )
    assert outcome.result.bill.verifier.tokens == 2


@pytest.mark.parametrize(
    ("first", "second", "counted", "consistent", "unread"),
    [
        ("[[A]]", "[[B]]", [1, 0], [1, 0], 0),
        ("[[A]]", "[[A]]", [0.5, 0.5], [0.5, 0.5], 0),  # the first one, whatever it is
        ("[[A]]", "[[C]]", [0.75, 0.25], [0.5, 0.5], 0),
        ("[[C]]", "[[C]]", [0.5, 0.5], [0.5, 0.5], 0),
        ("[[A]]", "I cannot tell.", [1, 0], [None, None], 1),
        ("[[A]] [[B]]", "[[A]]", [0, 1], [None, None], 1),
        ("A", "{}", [None, None], [None, None], 2),
    ],
)
def test_a_decisive_game_counts_for_whom_it_names_and_an_unread_one_for_nobody(
    first, second, counted, consistent, unread
) -> None:
    said = {("one", "two"): first, ("two", "one"): second, (None, None): "no verdict"}
    for expected, parameter in ((counted, False), (consistent, True)):
        scores, _ = judged(["one", "two"], lambda a, b: said[a, b], consistent=parameter)
        assert values(scores) == expected
        assert [(score.verdicts, score.unread) for score in scores] == [(2, unread)] * 2


def test_a_verdict_that_cannot_be_read_is_asked_for_once_more_in_the_same_chat() -> None:
    said = {("one", "two"): "The first is right.", ("two", "one"): "[[B]]", (None, None): "[[A]]"}
    scores, outcome = judged(["one", "two"], lambda a, b: said[a, b])
    assert values(scores) == [1.0, 0.0] and scores[0].unread == 0
    (repair,) = [a.request for a in outcome.generated if len(a.request.messages) > 1]
    assert [m.content for m in repair.messages[1:]] == ["The first is right.", REPAIR]
    assert outcome.result.bill.verifier.tokens == 3


def test_the_expectation_of_a_verdict_is_read_from_its_labels_where_they_hold_half_of_the_probability() -> None:
    said = {
        ("one", "two"): Sample(text="[[A]]", tokens=1, logprobs=at_verdict(A=0.6, B=0.1, C=0.2)),
        ("two", "one"): Sample(text="[[A]]", tokens=1, logprobs=at_verdict(A=0.2, B=0.1)),
    }
    scores, outcome = judged(["one", "two"], lambda a, b: said[a, b], expected=True, reasons=False)
    assert values(scores) == pytest.approx([(0.7 / 0.9 + 0) / 2, (0.2 / 0.9 + 1) / 2])
    assert scores[0].mass == pytest.approx(0.3)
    asked = [a.request for a in outcome.generated if a.helps]
    assert asked[0].messages[-1].content == comparison(PROBLEM, "one", "two", AT_ONCE)
    assert {(r.sampling.max_tokens, r.sampling.top_logprobs) for r in asked} == {(8, 10)}


def test_equal_solutions_tie_unasked_and_empty_and_lonely_ones_abstain() -> None:
    scores, outcome = judged(["same", "same", "<think>on and on"], lambda a, b: "[[A]]")
    assert values(scores) == [0.5, 0.5, None] and scores[2].text == "nothing to judge"
    assert not [a for a in outcome.generated if a.helps]
    (score,), _ = judged(["one"], lambda a, b: "[[A]]")
    assert (score.value, score.text) == (None, "no other solution to compare it with")


@given(st.lists(st.integers(0, 4), min_size=2, max_size=5))
@settings(max_examples=20)
def test_a_judge_that_knows_the_order_ranks_by_it_and_one_that_knows_only_places_ranks_nothing(worth) -> None:
    texts = [f"worth {each}" for each in worth]
    scores, outcome = judged(texts, lambda a, b: "[[A]]" if a > b else "[[B]]")
    for (one, score), (two, other) in pairwise(zip(worth, scores, strict=True)):
        assert (one > two) == (score.value > other.value)
    distinct = len({*worth})
    assert sum(a.helps for a in outcome.generated) == distinct * (distinct - 1)
    blind, _ = judged(texts, lambda a, b: "[[A]]")
    assert values(blind) == [0.5] * len(worth)


def test_with_pivots_all_others_meet_these_alone() -> None:
    scores, outcome = judged([*"abcd"], lambda a, b: "[[A]]" if a < b else "[[B]]", pivots=1)
    assert sum(a.helps for a in outcome.generated) == 6
    assert values(scores) == [1.0, 0.0, 0.0, 0.0]


def test_a_pair_of_which_the_budget_holds_one_order_has_no_game() -> None:
    scores, outcome = judged([*"ab"], lambda a, b: "[[A]]", budget=Limits(samples=3))
    assert values(scores) == [None, None] and outcome.result.exhausted


def test_several_games_are_asked_warmly_and_all_count() -> None:
    said = iter(("[[A]]", "[[A]]", "[[B]]", "[[A]]"))
    scores, outcome = judged([*"ab"], lambda a, b: next(said), games=2)
    assert values(scores) == [0.75, 0.25]
    assert {a.request.sampling.temperature for a in outcome.generated if a.helps} == {0.7}


@pytest.mark.parametrize("wrong", [{"games": 0}, {"pivots": -1}, {"max_tokens": 0}])
def test_a_parameter_out_of_range_is_refused_by_its_name(wrong) -> None:
    (name,) = wrong
    with pytest.raises(Exception, match=f"{name} must be at least"):
        Pairwise(**wrong)


def test_without_the_swapped_order_a_judge_that_likes_the_first_place_has_its_way() -> None:
    found, outcome = judged(["this", "that"], lambda a, b: "[[A]]", swapped=False)
    assert [score.value for score in found] == [1.0, 0.0]
    assert outcome.result.bill.verifier.samples == 1
    with pytest.raises(InvalidParameter, match="swapped"):
        Pairwise(swapped=False, consistent=True)
