"""One law of all searches: a branch that has no next step ends alone."""

from collections.abc import Callable
from typing import Any

import pytest
from trees import tree

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.errors import ServerFailed, TTSError
from tts.testing import Outcome, Sample, ScriptedCluster

SEARCHES = (
    "beam_search:n=4,m=2,depth=12",
    "beam_search:n=4,m=2,depth=12,lookahead=2",
    "best_first:n=60,m=4",
    "best_first:n=none,m=4",
    "dvts:n=4,m=2",
    "dvts:n=none,m=2",
    "rebase:n=4",
    "mcts:n=6,m=4",
    "mcts:n=none,m=4",
    "particle_filter:n=16,size=4",
    "particle_filter:n=none,size=4",
    "speculative_rejection:n=6,stop=\\n",
)
BRANCHES = {
    "": [("dead", 0.9), ("bad", 0.1), ("live", 0.8), ("poor", 0.1)],
    "dead\n": [("dead", 0.9)],
    "live\n": [("=7", 0.7), ("more", 0.8)],
    "live\nmore\n": [("=7", 0.9)],
}
DEAD = ("dead\n", "bad\n", "poor\n")
Script = Callable[[Request, int], Sample | TTSError]


def failing(script: Script, *prefixes: str) -> Script:
    """The script, in which all that is asked for after these prefixes fails."""
    return lambda request, number: (
        ServerFailed("boom") if request.continue_from in prefixes else script(request, number)
    )


def repeating(script: Script, *prefixes: str) -> Script:
    """The script, in which what begins with one of these prefixes says it again and again."""

    def said(request: Request, number: int) -> Sample | TTSError:
        for prefix in prefixes:
            if request.continue_from.startswith(prefix):
                return Sample(
                    text=prefix.strip(), stopped_by="\n", scores={"judge": 0.9 if prefix == "dead\n" else 0.1}
                )
        return script(request, number)

    return said


def searched(text: str, script: Script) -> Outcome:
    limits = Limits(samples=200) if "n=none" in text else Limits()
    return ScriptedCluster(script, budget=limits).run(text, verifier="judge")


@pytest.mark.parametrize("text", SEARCHES)
@pytest.mark.parametrize("end", [failing, repeating])
def test_the_best_branch_ends_and_the_others_come_to_an_answer(text: str, end: Any) -> None:
    outcome = searched(text, end(tree(BRANCHES), *DEAD))
    assert (outcome.result.error, outcome.result.answer) == (None, "7")
    assert any(action.request.continue_from == "dead\n" for action in outcome.generated)


@pytest.mark.parametrize("text", SEARCHES)
def test_where_no_branch_has_a_next_step_what_was_paid_for_stays_and_abstains(text: str) -> None:
    outcome = searched(text, failing(tree(BRANCHES), *DEAD, "live\n"))
    assert (outcome.result.error, outcome.result.answer) == (None, None)
    assert {candidate.text for candidate in outcome.result.candidates} == {"dead", "bad", "live", "poor"}


@pytest.mark.parametrize("text", [*SEARCHES, "ab_mcts:n=6", "ab_mcts:n=none"])
def test_where_no_first_step_came_the_error_says_why(text: str) -> None:
    outcome = searched(text, lambda request, number: ServerFailed("boom"))
    assert outcome.result.error is not None and outcome.result.error.type == "AllFailed"
    assert "boom" in outcome.result.error.message and len(outcome.generated) <= 40


@pytest.mark.parametrize("posterior", ["gaussian", "beta", "mixed"])
@pytest.mark.parametrize("n", [24, None])
def test_an_answer_whose_revision_fails_is_revised_no_more_and_the_search_goes_on(
    posterior: str, n: int | None
) -> None:
    """The best answers are long: their revisions do not fit into a context."""

    def script(request: Request, number: int) -> Sample | TTSError:
        if "Answer: 9" in request.messages[-1].content:
            return ServerFailed("too long")
        return Sample("9" if number % 4 == 0 else "1", scores={"judge": 0.95 if number % 4 == 0 else 0.3})

    cluster = ScriptedCluster(script, budget=Limits(samples=24))
    outcome = cluster.run("ab_mcts", n=n, posterior=posterior, verifier="judge")
    failed = [p for p in outcome.prompts if "Answer: 9" in p and p.count("Attempt ") == 1]
    assert outcome.result.error is None and len(outcome.generated) == 24
    assert len(failed) <= sum(candidate.answer == "9" for candidate in outcome.result.candidates)


@pytest.mark.parametrize("text", [text for text in SEARCHES if text.startswith(("dvts:n=none", "part", "mcts"))])
def test_a_beginning_that_fails_ends_neither_the_next_one_nor_the_search(text: str) -> None:
    steps = tree(BRANCHES)

    def script(request: Request, number: int) -> Sample | TTSError:
        return ServerFailed("boom") if number < 4 else steps(request, number)

    outcome = searched(text, script)
    assert (outcome.result.error, outcome.result.answer) == (None, "7")


def test_a_prefix_that_can_be_finished_but_not_grown_is_left_by_mcts() -> None:
    def script(request: Request, number: int) -> Sample | TTSError:
        if request.continue_from == "dead\n":
            return ServerFailed("boom") if request.step else Sample("9", scores={"judge": 0.9})
        return (
            tree(BRANCHES)(request, number)
            if request.continue_from
            else Sample(text="live" if number else "dead", stopped_by="\n", scores={"judge": 0.5})
        )

    outcome = searched("mcts:n=6,m=2", script)
    asked = [action.request.continue_from for action in outcome.generated if action.request.step]
    assert asked.count("dead\n") == 2 and "live\n" in asked
