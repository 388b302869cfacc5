"""Verdicts on all steps of a solution, by one check or by several that must all pass it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import asked, judged, values

from tts.core.budget import Limits
from tts.testing import Sample, ScriptedCluster, VerifierContract
from tts.toolkit.prompts.steps import each_step
from tts.types import Completion
from tts.verifiers.process.steps import TYPES, Steps, StepVerdict, errors_of


class TestSteps(VerifierContract):
    verifier = "steps"
    replies = (*map(Completion, ("1: +", "1: -", "1: + calculation", "+", "1: +\n2: -", '{"1": "+"}', "")),)


class TestSpecialisedChecks(TestSteps):
    verifier = "steps(checks=typed+logical_gap+calculation,aggregate=mean)"


def question(prompt: str) -> str:
    return "calculation" if "calculate something" in prompt else "typed" if "type of error" in prompt else "each"


def test_all_steps_are_asked_about_in_one_reply_and_all_must_be_right() -> None:
    scores, outcome = judged("steps", ["a\n\nb", "c\nd", "a\nb"], lambda p: "1: +\n2: " + ("+" if "1. a" in p else "-"))
    assert values(scores) == [1.0, 0.0, 1.0]
    # Two texts of the same steps are one prompt, which is asked at a temperature of 0, and so once.
    assert [r.messages[-1].content for r in asked(outcome)] == [
        each_step("What is 2 + 2?", t) for t in ("a\nb", "c\nd")
    ]
    assert (scores[1].steps, scores[1].text) == ((1.0, 0.0), "min of 2 steps; step 2 wrong")


@pytest.mark.parametrize(
    ("typed", "calculation", "steps", "text"),
    [
        ("1: +\n2: +", "1: +\n2: +", (1.0, 1.0), "min of 2 steps"),
        ("1: - knowledge\n2: +", "1: +\n2: -", (0.0, 0.0), "min of 2 steps; step 1 knowledge; step 2 calculation"),
        ("1: +\n2: - magic", "1: +\n2: -", (1.0, 0.0), "min of 2 steps; step 2 wrong"),
        ("1: +\n2: - symbols", "?", (None, 0.0), "min of 2 steps, of which 1 have no judgement; step 2 symbols; "
         "1 of 2 replies unread"),
        ("?", "?", (None, None), "min of 2 steps, of which 2 have no judgement; 2 of 2 replies unread"),
    ],
)  # fmt: skip
def test_a_step_is_right_if_it_passes_all_checks_and_wrong_by_the_first_that_says_so(
    typed, calculation, steps, text
) -> None:
    said = {"typed": typed, "calculation": calculation, "each": "what?"}
    (score,), outcome = judged("steps(checks=typed+calculation)", ["a\nb"], lambda p: said[question(p)])
    assert (score.steps, score.text) == (steps, text)
    assert score.value == (None if None in steps else min(steps))
    assert score.verdicts == 2 and outcome.result.bill.verifier.tokens == len(asked(outcome))


def test_a_check_that_the_budget_does_not_hold_passes_no_step() -> None:
    (score,), _ = judged("steps(checks=each+calculation)", ["a"], lambda p: "1: +", budget=Limits(samples=2))
    assert (score.value, score.steps, score.verdicts) == (None, (None,), 1)


signs = st.lists(st.sampled_from(["+", "-", *(f"- {each}" for each in TYPES), "- nonsense"]), min_size=1, max_size=5)


@given(signs, st.integers(1, 6))
def test_errors_are_read_of_a_line_for_each_step_and_of_nothing_else(said, count) -> None:
    found = errors_of("\n".join(f"{at}: {one}" for at, one in enumerate(said, 1)), count)
    expected = ["" if one == "+" else "wrong" if one in ("-", "- nonsense") else one[2:] for one in said]
    assert found == (expected if len(said) == count else None)


@given(st.text(max_size=50))
def test_no_reply_makes_it_fail(text) -> None:
    assert errors_of(text, 2) is None or len(errors_of(text, 2)) == 2


def test_a_strategy_may_ask_for_the_verdicts_themselves() -> None:
    found = []

    async def strategy(problem, run):
        found.extend(await Steps(checks="typed").verdicts(problem, "a\nb", run))
        return run.propose("a")

    ScriptedCluster(lambda request, number: Sample(text="1: +\n2: - figure", tokens=1)).run(strategy)
    assert found == [StepVerdict(1, True), StepVerdict(2, False, "figure")]


@pytest.mark.parametrize("wrong", ["checks=beauty", "aggregate=max", "max_tokens=0"])
def test_a_parameter_out_of_range_is_refused_by_its_name(wrong) -> None:
    with pytest.raises(Exception, match=f"{wrong.partition('=')[0]} must be"):
        judged(f"steps({wrong})", ["x"], str)
