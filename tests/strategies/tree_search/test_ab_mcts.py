"""AB-MCTS widens where new answers are better, deepens where revisions help, and asks the better model."""

import random
import re

import pytest
from samples import BROKEN

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.testing.cluster import Outcome

POSTERIORS = ("gaussian", "beta", "mixed")


class Brief(StrategyContract):
    worlds = range(1)
    test_another_process_gives_the_same_journal = None


class TestABMCTS(Brief):
    strategy = "ab_mcts:n=6"
    order_free = True


class TestABMCTSThatIsMixed(Brief):
    strategy = "ab_mcts:n=4,posterior=mixed,models=small+large,workers=2"


class TestABMCTSOfOpenN(Brief):
    strategy = "ab_mcts:n=none,workers=2"
    budget = Limits(samples=12)


@pytest.mark.system
class TestABMCTSThoroughly(StrategyContract):
    strategy = "ab_mcts:n=6,workers=3,posterior=beta,models=small+large"
    worlds = range(3)


def earlier(request: Request) -> int:
    """The number of attempts that a request shows."""
    return request.messages[-1].content.count("Attempt ")


def ran(script, text="ab_mcts", **params) -> Outcome:
    outcome = ScriptedCluster(script).run(text, **params)
    assert outcome.result.error is None, outcome.result.error
    return outcome


@pytest.mark.parametrize("posterior", ["gaussian", "beta"])
def test_it_goes_wide_where_new_answers_are_better_and_deep_where_revisions_are(posterior):
    draw = random.Random(0)

    def wide(request: Request, number: int) -> Sample:
        return Sample(str(number), scores={"judge": draw.uniform(0.6, 1.0) if not earlier(request) else 0.1})

    def deep(request: Request, number: int) -> Sample:
        return Sample(str(number), scores={"judge": min(1.0, 0.1 + 0.25 * earlier(request))})

    first = [sum(not earlier(a.request) for a in ran(s, n=60, posterior=posterior).generated) for s in (wide, deep)]
    assert first[0] > 40 and first[1] < 20


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_what_a_revision_scores_counts_for_every_answer_above_it(posterior):
    """The first answer scores as little as its siblings, but what comes of it scores well."""

    def script(request: Request, number: int) -> Sample:
        found = "Answer: 99" in request.messages[-1].content
        return Sample("1" if number and not found else "99", scores={"judge": 0.9 if found else 0.2})

    outcome = ran(script, n=60, posterior=posterior)
    late = [candidate.answer for candidate in outcome.result.candidates[20:]]
    assert late.count("99") > 0.6 * len(late)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_it_learns_which_of_several_models_is_better(posterior):
    draw = random.Random(1)

    def script(request: Request, number: int) -> Sample:
        good = 0.8 if request.model == "large" else 0.3
        return Sample(str(number), scores={"judge": min(1.0, max(0.0, draw.gauss(good, 0.15)))})

    outcome = ran(script, n=60, posterior=posterior, models="small+large+other")
    asked = [action.request.model for action in outcome.generated]
    assert {*asked} == {"small", "large", "other"}
    assert asked[20:].count("large") > 0.7 * len(asked[20:])


def test_the_best_answer_is_chosen_and_a_model_sees_the_four_latest_above_it():
    def script(request: Request, number: int) -> Sample:
        return Sample(str(number), scores={"judge": min(0.9, 0.2 * earlier(request)) + 0.1 * (number == 70)})

    outcome = ran(script, n=80)
    assert outcome.result.answer == "70"
    texts = {c.id: c.text for c in outcome.result.candidates}
    parents = {c.id: c.parent for c in outcome.result.candidates}
    for action in outcome.generated:
        above, id = [], parents[action.id]
        while id is not None:
            above, id = [texts[id], *above], parents[id]
        shown = action.request.messages[-1].content
        assert re.findall(r"Attempt \d+:\n(.*)", shown) == above[-4:]
    assert max(earlier(action.request) for action in outcome.generated) == 4


def test_an_answer_without_a_score_counts_for_nothing_and_stays_in_the_tree():
    silent = ran([Sample(a) for a in "12232"], n=5)
    assert silent.result.answer == "2" and len(silent.result.candidates) == 5
    one = ran([Sample("1", scores={"judge": 0.0}), *(Sample("2") for _ in range(7))], n=8)
    assert one.result.answer == "1"


def test_a_failed_answer_is_passed_over_and_failures_in_a_row_end_an_open_count():
    assert ran([BROKEN, BROKEN, Sample("3", scores={"judge": 0.5})], n=3).result.answer == "3"
    cluster = ScriptedCluster(lambda request, number: BROKEN, budget=Limits(samples=100))
    outcome = cluster.run("ab_mcts:n=none")
    assert outcome.result.error.type == "AllFailed" and len(outcome.generated) < 20


def test_scores_that_are_no_rewards_and_counts_of_nothing_are_refused():
    for text, score, sentence in (
        ("ab_mcts", 4.2, "the verifier judge gave 4.2: choose one that gives probabilities"),
        ("ab_mcts:n=0", 0.5, "n must be at least 1, but got 0"),
        ("ab_mcts:workers=0", 0.5, "workers must be at least 1, but got 0"),
        ("ab_mcts:n=none", 0.5, "there is none that ends sampling: set n or a budget"),
        ("ab_mcts:selector=worst", 0.5, "worst"),
    ):
        error = (
            ScriptedCluster(lambda request, number, s=score: Sample("1", scores={"judge": s})).run(text).result.error
        )
        assert error is not None and sentence in error.message, text
