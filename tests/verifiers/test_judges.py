"""What holds of every judge of the library: bad candidates, bad replies, budgets and contexts that are too small."""

import inspect
import math
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import asked, judged, values

from tts.core.budget import Limits
from tts.models.cost_model import CostModel
from tts.plugins.names import built_in, verifier_named
from tts.plugins.verifiers import verifier
from tts.testing import Sample, ScriptedCluster
from tts.types import LogprobSummary, TokenLogprob

# Of those that have a mode in which models are asked otherwise, both modes.
MODES = (
    "competent(agree=1,k=1,verifier=pairwise)",
    "grm(k=2,meta=itself,together=true)",
    "judgelm(games=2)",
    "pairwise(consistent=true,expected=true,games=2,reasons=false)",
    "rubric(expected=true,k=3)",
    "steps(checks=typed+calculation)",
    "trajectory(k=2,strict=false)",
)
# One that asks for numbers, not for texts, those that ask other verifiers, and those that judge answers alone.
OTHERS = {"reward_model", "competent", "calibrated", "panel", "qa", "consultancy", "debate"}
JUDGES = [name for name in built_in("verifiers") if name not in OTHERS and hasattr(verifier_named(name), "judge")]
ALL = (*JUDGES, *MODES)
GARBAGE = [
    "",
    "甲更好",
    "Beide sind gleich gut.",
    '{"verdict": "A", "score": 8, "winner": 1}',
    "[[A]] and [[B]]",
    "[[1]], [[2]]",
    "Score: 11",
    "Score: 0",
    "maybe",
    "<think>[[A]] Score: 7",
    "[[X]]",
    "Yes or No",
]
LABELS = ("A", "B", "C", "1", "2", "7", "10", "Yes", "No", "+", "-")
GOOD = [
    "[[A]]",
    "[[B]]",
    "[[C]]",
    "[[1]]",
    "[[2]]",
    "8 3",
    "Score: 7",
    "Score: 2",
    "Scores: [7, 4]",
    "Yes",
    "No",
    "+",
    "1: +",
    "1: - reasoning",
    "<success>yes</success><side>no</side><optimal>4</optimal><loop>no</loop>",
    "Answer: 4",
]


def said(text: str, label: str = "~") -> Sample:
    """A reply whose last token is this label for sure."""
    tail = (TokenLogprob(label, math.log(0.9), ((label, math.log(0.9)),)),)
    return Sample(text=text, tokens=1, logprobs=LogprobSummary(-0.1, -0.1, tail=tail))


@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_says_what_it_is_from_and_when_it_abstains(name: str) -> None:
    doc = inspect.getdoc(verifier_named(name)) or ""
    assert re.search(r"arXiv:\d{4}\.\d{5}", doc) and re.search(r"Differences from the papers?:", doc)
    assert "abst" in doc and "model: name of the judging model" in doc


@pytest.mark.parametrize("name", ALL)
def test_a_reply_that_is_no_verdict_is_an_abstention_and_counted_as_unread(name: str) -> None:
    for garbage in GARBAGE:
        scores, outcome = judged(name, ["one", "two", ""], lambda _, text=garbage: said(text))
        assert values(scores) == [None] * 3, garbage
        if name != "prm" and not name.startswith("competent"):
            assert all(score.unread == score.verdicts > 0 for score in scores[:2]), garbage
        assert scores[2].verdicts == 0 and outcome.result.error is None


@pytest.mark.parametrize("name", ALL)
def test_no_candidate_one_alone_and_empty_ones_make_no_judge_fail(name: str) -> None:
    for texts in (["only one"], ["", ""], ["<think>on and on", "one"]):
        scores, _ = judged(name, texts, lambda _: said("Answer: 4"))
        assert len(scores) == len(texts)
        assert all(
            score.value is None for score, text in zip(scores, texts, strict=True) if text in ("", "<think>on and on")
        )

    async def strategy(problem, run):
        assert await run.verify([], "it") == []
        return run.propose("done")

    made = {"it": verifier(name)}
    outcome = ScriptedCluster(lambda request, number: said("Answer: 4"), verifiers=made).run(strategy)
    assert outcome.result.error is None


@pytest.mark.parametrize("name", ALL)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=8)
def test_equal_candidates_get_equal_scores_in_the_range_of_their_kind_and_all_is_billed(name: str, seed: int) -> None:
    random = Random(seed)
    texts = [random.choice(("a", "b", "a\nb")) for _ in range(4)]
    scores, outcome = judged(name, texts, lambda _: said(random.choice(GOOD + GARBAGE), random.choice(LABELS)))
    by_text = {text: score.value for text, score in zip(texts, scores, strict=True)}
    assert values(scores) == [by_text[text] for text in texts]
    low, high = (1, 10) if scores[0].kind == "scale" else (0, 1)
    assert all(score.value is None or low <= score.value <= high for score in scores)
    assert outcome.result.bill.verifier.tokens == len(asked(outcome)) and outcome.result.bill.answers.tokens == 4


@pytest.mark.parametrize("name", ALL)
def test_a_budget_that_ends_while_a_judge_asks_ends_no_trial(name: str) -> None:
    for samples in (3, 4, 6):
        scores, outcome = judged(name, ["one", "two", "three"], lambda _: said("[[A]]"), budget=Limits(samples=samples))
        assert len(scores) == 3 and outcome.result.bill.total.samples <= samples
        assert samples > 3 or (values(scores) == [None] * 3 and outcome.result.exhausted)


@pytest.mark.parametrize("name", ALL)
def test_what_a_context_cannot_hold_is_cut_in_the_middle_or_abstained_from_and_the_score_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CostModel, "context_tokens", lambda self, request: 2500)
    texts = [f"begins {word} {'x' * 4000} ends {word}" for word in ("one", "two")]
    scores, outcome = judged(name, texts, lambda _: said("Answer: 4"))
    prompts = [r.messages[0].content for r in asked(outcome) if "begins" in r.messages[0].content]
    cut = name != "prm" and not name.startswith("competent")
    if cut:
        assert prompts and all(len(prompt) < 2500 and "begins" in prompt and "ends" in prompt for prompt in prompts)
        assert all("characters left out of the middle" in score.text for score in scores)
    monkeypatch.setattr(CostModel, "context_tokens", lambda self, request: 300)
    scores, outcome = judged(name, texts, lambda _: said("Answer: 4"))
    assert values(scores) == [None, None] and outcome.result.error is None
    assert not cut or {score.text for score in scores} == {"too long for the judge's context"}


@pytest.mark.parametrize("name", ["rubric(k=2)", "mav", "grm(k=2)"])
def test_what_a_judge_samples_about_a_solution_is_the_same_however_many_the_strategy_asked_for(name: str) -> None:
    def seeds(n: int) -> dict[tuple[str, str], list[int | None]]:
        made = {name: verifier(name)}
        cluster = ScriptedCluster(lambda request, number: said(f"Answer: {number % 50}"), verifiers=made)
        outcome = cluster.run(f"best_of_n:n={n},verifier={name}")
        found: dict[tuple[str, str], list[int | None]] = {}
        for request in asked(outcome):
            if request.sampling.temperature:
                found.setdefault(request.messages[-1].content, []).append(request.seed)
        return found

    few, many = seeds(2), seeds(4)
    assert few and all(many[prompt] == given for prompt, given in few.items())
