"""Chains of attempts, each a revision of those before it."""

import re

from samples import BROKEN

from tts.core.budget import Limits
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.toolkit.revisions import MEMORY

ATTEMPT = re.compile(r"Attempt \d+:\n(.*)")


class TestSequentialRevision(StrategyContract):
    strategy = "sequential_revision:chains=3,rounds=2"
    order_free = True

    def counted(self, n):
        return {"chains": 1, "rounds": n}


class TestSequentialRevisionWithAJudge(StrategyContract):
    strategy = "sequential_revision:chains=2,rounds=3,verifier=judge,selector=weighted_majority"
    order_free = True

    def counted(self, n):
        return {"chains": n, "rounds": 1}


def chain_world(request, number):
    """Every completion is unique, so that prompts show which attempts they hold."""
    return Sample(text=f"try {number} Answer: {number}", seconds=1.0 + number % 3)


def test_a_revision_sees_the_last_four_attempts_of_its_own_chain_and_names_the_last_as_its_parent():
    outcome = ScriptedCluster(chain_world).run("sequential_revision:chains=2,rounds=7", "How much is 2 + 2?")
    by_id = {candidate.id: candidate for candidate in outcome.result.candidates}
    assert len(by_id) == 14
    for action in outcome.generated:
        shown = ATTEMPT.findall(action.request.messages[-1].content)
        ancestors: list[str] = []
        parent = by_id[action.id].parent
        while parent is not None:
            ancestors.insert(0, by_id[parent].text)
            parent = by_id[parent].parent
        assert shown == ancestors[-MEMORY:]
        assert "How much is 2 + 2?" in action.request.messages[-1].content
    assert sum(candidate.parent is None for candidate in by_id.values()) == 2


def test_selection_is_over_every_version_of_every_chain():
    versions = {0: "5", 1: "7", 2: "5", 3: "8"}  # by order of asking: two first attempts, then their revisions
    outcome = ScriptedCluster(lambda request, number: versions[number]).run("sequential_revision:chains=2,rounds=2")
    assert outcome.result.answer == "5"  # a right first attempt, broken by its revision, still votes
    script = [Sample(str(i), scores={"judge": score}) for i, score in enumerate((0.1, 0.9, 0.3, 0.2))]
    judged = ScriptedCluster(script).run("sequential_revision:chains=2,rounds=2,verifier=judge,selector=best_score")
    assert judged.result.answer == "1"
    assert len(judged.verified) == 4


def test_a_budget_that_ends_in_the_middle_of_a_chain_keeps_what_there_is():
    outcome = ScriptedCluster(chain_world, budget=Limits(samples=3)).run("sequential_revision:chains=2,rounds=4")
    assert len(outcome.result.candidates) == 3
    assert outcome.result.answer is not None
    assert outcome.result.error is None
    nothing = ScriptedCluster(chain_world, budget=Limits(tokens=100)).run("sequential_revision:chains=2,rounds=4")
    assert nothing.result.exhausted and nothing.result.error.type == "BudgetExhausted"


def test_a_chain_that_fails_takes_no_other_chain_with_it():
    script = {0: BROKEN, 1: Sample("5"), 2: BROKEN}
    outcome = ScriptedCluster(lambda request, number: script[number]).run("sequential_revision:chains=2,rounds=3")
    assert (outcome.result.answer, len(outcome.generated)) == ("5", 3)
    nothing = ScriptedCluster([BROKEN, BROKEN]).run("sequential_revision:chains=2,rounds=3").result
    assert (nothing.selected, nothing.error.type) == (None, "AllFailed")
