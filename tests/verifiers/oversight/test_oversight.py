"""Oversight: who argues for which answer, what the judge sees, and what becomes of its verdicts."""

import re
from itertools import product

import pytest
from judged import asked, judged, values

from tts.core.budget import Limits
from tts.errors import InvalidParameter
from tts.plugins.verifiers import verifier
from tts.testing import VerifierContract
from tts.toolkit.prompts.debate import HIDDEN, SILENCE
from tts.types import Completion

PROBLEM = "A shop has 21 pears and sells 6. How many are left?"
PROTOCOLS = ("qa", "consultancy", "debate", "consultancy(open=true)", "debate(open=true)", "debate(simultaneous=false)")
VERDICTS = (*map(Completion, ("Verdict: A", "They differ.\nVerdict: B", "Neither.", "", "[[A]]")),)
RIGHT, WRONG = "21-6=15\nAnswer: 15", "21-6=14\nAnswer: 14"


class TestQA(VerifierContract):
    verifier = "qa"
    replies = VERDICTS


class TestConsultancy(VerifierContract):
    verifier = "consultancy"
    replies = VERDICTS


class TestDebate(VerifierContract):
    verifier = "debate"
    replies = VERDICTS


def hears(believed):
    """A model that argues with `for N`, and as the judge believes the answer that `believed` picks of A, B and what was
    said."""

    def reply(prompt):
        if "Verdict: A or B" not in prompt:
            return f"Surely it is {re.search(r'the answer is (.+?)[.]', prompt)[1]}."
        a, b = re.search(r"A: (.+), B: (.+)\n", prompt).groups()
        return f"Verdict: {'A' if believed(a, b, prompt) == a else 'B'}"

    return reply


def of(prompts, word):
    return [prompt for prompt in prompts if word in prompt]


def prompts_of(outcome):
    return [request.messages[0].content for request in asked(outcome)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_believed_answer_has_all_of_the_belief_in_both_orders_and_its_candidates_share_it(protocol: str) -> None:
    scores, outcome = judged(protocol, [RIGHT, WRONG, RIGHT, "?"], hears(lambda a, b, _: "15"), problem=PROBLEM)
    assert values(scores) == [1, 0, 1, None]
    decided = of(prompts_of(outcome), "A: 15, B: 14") + of(prompts_of(outcome), "A: 14, B: 15")
    assert len(decided) >= 2 and outcome.result.bill.verifier.tokens == len(asked(outcome))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_judge_of_the_first_answer_shown_is_at_evens(protocol: str) -> None:
    scores, _ = judged(protocol, [RIGHT, WRONG], hears(lambda a, b, _: a), problem=PROBLEM)
    assert values(scores) == [0.5, 0.5]


def test_a_consultant_argues_for_either_answer_and_an_open_one_for_its_own() -> None:
    def said(prompt):
        return re.findall(r"Surely it is (\d+)", prompt)

    for open, sides in (("false", {("15",), ("14",)}), ("true", {("15",)})):
        _, outcome = judged(f"consultancy(open={open})", [RIGHT, WRONG], hears(lambda a, b, _: "15"), problem=PROBLEM)
        heard = {tuple(said(prompt)) for prompt in of(prompts_of(outcome), "Verdict: A or B")}
        assert heard - {()} == sides


def test_in_turn_the_second_debater_hears_the_first_and_at_once_neither_hears_the_other() -> None:
    for at_once, hearing in (("true", 0), ("false", 2)):
        judge = f"debate(simultaneous={at_once})"
        _, outcome = judged(judge, [RIGHT, WRONG], hears(lambda a, b, _: a), problem=PROBLEM)
        arguing = of(prompts_of(outcome), "Convince a judge")
        assert len(arguing) == 4 and len(of(arguing, "Surely it is")) == hearing


def test_the_judge_alone_is_blind_to_numbers_where_it_is_to_be() -> None:
    for protocol, blind in product(("qa", "consultancy", "debate"), (True, False)):
        judge = f"{protocol}(blind={str(blind).lower()})"
        _, outcome = judged(judge, [RIGHT, WRONG], hears(lambda a, b, _: a), problem=PROBLEM)
        assert all(("21" not in p and HIDDEN in p) is blind for p in of(prompts_of(outcome), "Verdict: A or B"))
        assert all("21 pears" in p for p in of(prompts_of(outcome), "Convince a judge"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equal_answers_are_asked_nothing_and_answers_beyond_the_leading_ones_abstain(protocol: str) -> None:
    scores, outcome = judged(protocol, [RIGHT, RIGHT], hears(lambda a, b, _: a), problem=PROBLEM)
    assert values(scores) == [None, None] and not asked(outcome)
    third = "21-6=13\nAnswer: 13"
    scores, _ = judged(protocol, [third, RIGHT, WRONG, RIGHT, WRONG], hears(lambda a, b, _: "15"), problem=PROBLEM)
    assert values(scores) == [None, 1, 0, 1, 0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_no_verdict_is_an_abstention_and_a_budget_that_ends_too(protocol: str) -> None:
    for garbage in ("", "甲", "[[A]]", "Verdict: C", "Verdict: A or B?", "<think>Verdict: A"):
        scores, outcome = judged(protocol, [RIGHT, WRONG], lambda _, said=garbage: said, problem=PROBLEM)
        assert values(scores) == [None, None] and outcome.result.error is None
    for samples in (2, 3, 5):
        limits = Limits(samples=samples)
        scores, outcome = judged(protocol, [RIGHT, WRONG], hears(lambda a, b, _: a), problem=PROBLEM, budget=limits)
        assert len(scores) == 2 and outcome.result.bill.total.samples <= samples


def test_nobody_who_has_said_anything_is_shown_as_nothing() -> None:
    _, outcome = judged("qa", [RIGHT, WRONG], hears(lambda a, b, _: a), problem=PROBLEM)
    assert all(prompt.count(f"Said about them:\n{SILENCE}") == 1 for prompt in prompts_of(outcome))


@pytest.mark.parametrize("wrong", ["debate(turns=0)", "consultancy(turns=0)", "qa(games=0)", "debate(most=1)"])
def test_parameters_out_of_range_are_refused(wrong: str) -> None:
    with pytest.raises(InvalidParameter):
        verifier(wrong)
