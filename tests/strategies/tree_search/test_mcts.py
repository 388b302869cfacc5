"""A search goes where PUCT says: what is good, what was said often, and what was seldom visited."""

import pytest
from samples import BROKEN

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.testing.cluster import Outcome


class TestMCTS(StrategyContract):
    strategy = "mcts:n=2,m=2,depth=4"
    worlds = range(1)
    test_another_process_gives_the_same_journal = None


@pytest.mark.system
class TestMCTSOfOpenN(StrategyContract):
    strategy = "mcts:n=none,m=2,alpha=1,verifier=judge"
    budget = Limits(samples=20)
    worlds = range(3)


def ran(script, **params) -> Outcome:
    outcome = ScriptedCluster(script).run("mcts", verifier="judge", **params)
    assert outcome.result.error is None, outcome.result.error
    return outcome


def letters(own: dict[str, float], end: dict[str, float], says: str = "ab"):
    """Steps are the letters in turn; a step has the score `own` of its last letter, what comes of it that of `end`."""

    def script(request: Request, number: int) -> Sample:
        prefix = request.continue_from.replace("\n", "")
        if not request.sampling.stop:
            return Sample(text="Answer: 1", scores={"judge": end[prefix[-1]]})
        counts[prefix] = counts.get(prefix, -1) + 1
        letter = says[counts[prefix] % len(says)]
        return Sample(text=letter, stopped_by="\n", scores={"judge": own[letter]})

    counts: dict[str, int] = {}
    return script


def expanded(outcome: Outcome) -> list[str]:
    """The prefixes that grew, a letter for each step, in order."""
    prefixes = [a.request.continue_from for a in outcome.generated if a.request.sampling.stop]
    return [prefix.replace("\n", "") for prefix in dict.fromkeys(prefixes)]


def test_prefixes_grow_in_the_order_that_puct_gives_to_the_digit():
    """Each has a share of a half, and what comes of the first new step, a, is worth 1. c = 1: the root's a has
    1 + 0.5 / 2, b 0.5; and so on below. c = 6: after one visit a has 1 + 3 / 2, b 3; then both 1 + 3 * sqrt(2) / 2, of
    which the first is taken; then a 1 + 3 * sqrt(3) / 3, b 1 + 3 * sqrt(3) / 2, and below b its b 3 against 2.5."""
    only_ends = letters({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 0.0})
    assert expanded(ran(only_ends, n=5, m=2, alpha=1.0)) == ["", "a", "aa", "aaa", "aaaa"]
    assert expanded(ran(only_ends, n=5, m=2, alpha=1.0, c=6.0)) == ["", "b", "a", "bb", "ab"]


def test_a_step_is_worth_its_own_score_and_that_of_what_came_of_it():
    """b looks better, but ends badly: with alpha = 1/4 it is worth 0.75 * 0.8 = 0.6, with 3/4 only 0.2."""
    script = letters({"a": 0.4, "b": 0.8}, {"a": 0.4, "b": 0.0})
    assert expanded(ran(script, n=2, m=2, alpha=0.25, c=0.0)) == ["", "b"]
    assert expanded(ran(script, n=2, m=2, alpha=0.75, c=0.0)) == ["", "a"]


def test_equal_steps_are_one_prefix_with_the_share_of_all():
    script = letters({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}, says="abb")
    outcome = ran(script, n=2, m=3)
    assert len([a for a in outcome.verified if a.candidate.partial]) == 2 * 2
    assert expanded(outcome) == ["", "b"]  # equal values, of which b was said twice


def test_with_alpha_1_solutions_alone_are_scored():
    outcome = ran(letters({"a": 0.9, "b": 0.1}, {"a": 0.9, "b": 0.1}), n=3, m=2, alpha=1.0)
    assert [action.candidate.partial for action in outcome.verified] == [False] * 3


def test_the_search_ends_where_every_text_has_ended_and_no_solution_is_visited_again():
    outcome = ran(lambda request, number: Sample(str(number), scores={"judge": 0.1 * number}), n=9, m=3)
    assert len(outcome.generated) == 3 and outcome.result.answer == "2"

    def two(request: Request, number: int) -> Sample:
        first = not request.continue_from
        return Sample(
            "1",
            text="Answer: 1" if not first or number else "so",
            stopped_by="\n" if first and not number else None,
            scores={"judge": 0.5},
        )

    assert len(ran(two, n=9, m=2).generated) == 2 + 1 + 2


def test_a_text_grows_to_its_depth_and_is_finished_beyond():
    outcome = ran(letters({"a": 0.5, "b": 0.1}, {"a": 0.5, "b": 0.1}), n=20, m=2, depth=2)
    assert {*expanded(outcome)} == {"", "a", "b"}
    assert max(c.depth for c in outcome.result.candidates) == 2


def test_a_verifier_that_says_nothing_leads_down_the_first_steps_and_equal_scores_to_a_vote():
    silent = letters({"a": None, "b": None}, {"a": None, "b": None})
    assert expanded(ran(silent, n=3, m=2)) == ["", "a", "aa"]
    alike = ran(letters({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}), n=3, m=2)
    assert alike.result.answer == "1"


def test_a_rollout_that_failed_is_passed_over():
    script = letters({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5})
    outcome = ran(lambda request, number: BROKEN if number < 2 else script(request, number), n=2, m=2)
    assert outcome.result.answer == "1" and len(outcome.result.candidates) == 3


def test_counts_of_nothing_and_scores_that_are_no_rewards_are_refused():
    for text, sentence in (
        ("n=0", "n must be at least 1, but got 0"),
        ("m=0", "m must be at least 1, but got 0"),
        ("c=-1", "c must be at least 0, but got -1"),
        ("alpha=0", "alpha must be above 0 and at most 1, but got 0"),
        ("depth=0", "depth must be at least 1, but got 0"),
        ("n=none", "there is none that ends sampling: set n or a budget"),
        ("n=1", "the verifier judge gave 7: choose one that gives probabilities"),
    ):
        cluster = ScriptedCluster(lambda request, number: Sample("1", scores={"judge": 7.0}))
        error = cluster.run(f"mcts:verifier=judge,{text}").result.error
        assert error is not None and sentence in error.message, text
