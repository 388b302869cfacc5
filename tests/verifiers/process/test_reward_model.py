"""Reward models as verifiers: the forms of three families, what their numbers mean, and what is no number."""

import json
import math
import os

import pytest

import tts
from tts.cli.examination import examine
from tts.core.budget import Limits
from tts.errors import BadResponse, UnknownName
from tts.models.wire.measuring import numbers_in
from tts.plugins.verifiers import verifier
from tts.testing import FakeEngine, Sample, ScriptedCluster, VerifierContract, arithmetic
from tts.types import Completion

QUESTION = "What is 2 + 2?"


class TestQwen(VerifierContract):
    verifier = "reward_model"
    replies = tuple(map(Completion, ("[[0.1,0.9]]", "[[2.0,-1.0]]", "[[null,null]]")))


class TestClassifier(TestQwen):
    verifier = "reward_model(convention=classify)"


def judged(texts, numbers, parameters="", budget=Limits()):
    """The scores of texts, and what was asked. `numbers`: of a request that measures."""
    scores = []

    def model(request, number):
        if not request.measure:
            return Sample(text=texts[number], tokens=1)
        return Sample(text=json.dumps(numbers(request)), tokens=0)

    async def strategy(problem, run):
        found = await run.generate(n=len(texts))
        scores.extend(await run.verify(found, "v"))
        return found[0]

    made = {"v": verifier(f"reward_model({parameters})")}
    outcome = ScriptedCluster(model, verifiers=made, budget=budget).run(strategy, QUESTION)
    return scores, [a.request for a in outcome.generated if a.request.measure], outcome


def turns(request):
    return [(message.role, message.content) for message in request.messages]


def test_qwen_ends_each_step_and_reads_the_second_of_two_classes() -> None:
    rows = [[0.1, 0.9], [0.6, 0.4]]
    [score], [asked], _ = judged(["<think>x</think>a\n\nb"], lambda _: rows, "aggregate=prod")
    assert asked.measure == "pooling" and asked.model == "prm"
    assert turns(asked)[1:] == [("user", QUESTION), ("assistant", "a<extra_0>b<extra_0>")]
    assert turns(asked)[0][0] == "system" and "step by step" in turns(asked)[0][1]
    assert score.steps == (0.9, 0.4) and score.value == pytest.approx(0.36)
    assert (score.kind, score.text) == ("probability", "prod of 2 steps")


def test_shepherd_ends_each_step_with_its_token_and_reads_the_first_of_two_logits() -> None:
    [score], [asked], _ = judged(["a\nb"], lambda _: [[1.0, -1.0], [0.0, 2.0]], "convention=shepherd,aggregate=mean")
    assert turns(asked) == [("user", f"{QUESTION} a ки\nb ки")]
    assert score.steps == pytest.approx((1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))))


def test_skywork_is_asked_about_each_prefix_once_and_its_last_number_counts() -> None:
    def numbers(request):
        return [[9.0], [float(request.messages[0].content.count("\n") - 1)]]

    scores, asked, _ = judged(["a\nb", "a\nc"], numbers, "convention=skywork,aggregate=min")
    assert sorted(r.messages[0].content for r in asked) == [f"{QUESTION}\n{t}\n" for t in ("a", "a\nb", "a\nc")]
    assert scores[0].steps == pytest.approx((1.0, 1 / (1 + math.exp(-2))))
    assert scores[0].value == scores[1].value == pytest.approx(1 / (1 + math.exp(-2)))
    _, asked, _ = judged(["a\nb"], numbers, "convention=skywork")
    assert len(asked) == 1


def test_a_classifier_gives_its_raw_number_so_that_large_rewards_stay_apart() -> None:
    scores, asked, _ = judged(
        ["a", "b"], lambda r: [[25.0 if "b" in r.messages[1].content else 20.0]], "convention=classify"
    )
    assert turns(asked[0]) == [("user", QUESTION), ("assistant", "a")]
    assert asked[0].sampling.extra_body == {"use_activation": False}
    assert [(s.value, s.kind, s.steps) for s in scores] == [(20.0, "logit", ()), (25.0, "logit", ())]
    [score], _, _ = judged(["a"], lambda _: [[1.0, 3.0]], "convention=classify")
    assert score.value == 2.0


def test_one_text_is_measured_once_however_often_it_was_sampled() -> None:
    scores, asked, _ = judged(["a", "a", "b", ""], lambda _: [[0.2, 0.8]])
    assert len(asked) == 2
    assert [score.value for score in scores] == [0.8, 0.8, 0.8, None] and scores[3].text == "no steps"


@pytest.mark.parametrize("rows", [[], [[0.1, 0.9]], [[0.1, 0.9]] * 3])
def test_another_number_of_rows_than_steps_ends_the_trial_and_says_how_to_serve_the_model(rows) -> None:
    _, _, outcome = judged(["a\nb"], lambda _: rows)
    error = outcome.result.error
    assert error.type == "CapabilityMissing"
    assert f"the model prm gave {len(rows)} rows of numbers for a text of 2 lines" in error.message
    assert '"step_tag_id": ID' in error.message


def test_a_step_without_a_finite_number_has_no_judgement() -> None:
    [score], _, _ = judged(["a\nb"], lambda _: [[None, None], [0.2, 0.8]], "aggregate=min")
    assert (score.value, score.steps) == (None, (None, 0.8))
    assert score.text == "min of 2 steps, of which 1 have no judgement"
    [score], _, _ = judged(["a\nb"], lambda _: [[None, None], [0.2, 0.8]])
    assert score.value == 0.8


def test_a_model_of_other_classes_or_without_numbers_is_no_reward_model() -> None:
    for rows, said in (
        ([[0.1, 0.2, 0.7]], "gave 3 numbers where"),
        ("Answer: 4", "replied 'Answer: 4'|replied '\"Ans"),
    ):
        _, _, outcome = judged(["a"], lambda _, rows=rows: rows)
        assert outcome.result.error is not None
        assert any(part in outcome.result.error.message for part in said.split("|")), outcome.result.error


def test_what_the_budget_does_not_hold_is_an_abstention() -> None:
    scores, _, outcome = judged(["a", "b"], lambda _: [[0.2, 0.8]], budget=Limits(samples=3))
    assert [score.value for score in scores] == [0.8, None]
    assert outcome.result.bill.verifier.samples == 1 and outcome.result.bill.verifier.tokens == 0


def step_rows(page, body):
    said = body["messages"][-1]["content"]
    return [[0.25, 0.75]] * said.count("<extra_0>")


def solved(engine, reward, strategy, **how):
    models = {"prm": {"model": "fake", "base_url": reward.base_url, "price_in": 1.0, "price_out": 1.0}}
    price = {"price_in": 1.0, "price_out": 1.0}
    return tts.solve(QUESTION, strategy, base_url=engine.base_url, models=models, **price, **how)


def test_a_served_reward_model_is_billed_for_its_prompts_as_verification() -> None:
    with FakeEngine(arithmetic()) as engine, FakeEngine(measures=step_rows) as reward:
        result = solved(engine, reward, "best_of_n:n=2,verifier=reward_model")
        assert {s.value for scores in result.result.scores.values() for s in scores} == {0.75}
        asked = list(reward.requests)
    assert asked and all("max_tokens" not in body and "stream" not in body for body in asked)
    verifier = result.result.bill.verifier
    assert (verifier.samples, verifier.tokens) == (len(asked), 0)
    assert verifier.picodollars > 0


def test_a_run_without_the_role_is_refused_before_anything_is_spent() -> None:
    with FakeEngine(arithmetic()) as engine:
        with pytest.raises(UnknownName, match="prm"):
            tts.solve(QUESTION, "best_of_n:n=2,verifier=reward_model", base_url=engine.base_url)
        assert engine.stats().tokens == 0


def test_a_server_that_only_generates_says_what_is_missing() -> None:
    missing = r"the role prm: .* has no /pooling, .*: a reward model is served by `vllm serve"
    with FakeEngine(arithmetic()) as engine, pytest.raises(tts.TTSError, match=missing):
        solved(engine, engine, "best_of_n:n=2,verifier=reward_model")


def test_doctor_says_which_pages_of_numbers_a_server_has_and_asks_it_for_no_text() -> None:
    with FakeEngine(measures=step_rows) as reward:
        found = {finding.what: (finding.ok, finding.detail) for finding in examine([reward.base_url], None, None)}
        assert not reward.requests
    assert found["  numbers"] == (
        True,
        "/pooling, /classify, /score, as of a reward model: for the verifier reward_model",
    )
    assert "  seed" not in found


def test_numbers_that_are_none_are_read_as_such_and_other_answers_are_an_error() -> None:
    assert numbers_in(b'{"data": [{"data": [[NaN, 1.0], [null, 2]]}]}') == ([[None, 1.0], [None, 2.0]], None)
    assert numbers_in(b'{"data": [{"probs": [0.5]}], "usage": {"prompt_tokens": 3}}') == ([[0.5]], 3)
    assert numbers_in(b'{"data": [{"score": 0.5}]}') == ([[0.5]], None)
    for answer in (b"", b"[]", b"{}", b'{"data": []}', b'{"data": [{"data": "YWJj"}]}', b'{"data": [{"score": "1"}]}'):
        assert numbers_in(answer) is None


def test_an_answer_without_numbers_says_what_came_instead() -> None:
    silly = FakeEngine(measures=lambda page, body: "much")
    said = pytest.raises(BadResponse, match=r"answered /pooling without numbers: .*much")
    with FakeEngine(arithmetic()) as engine, silly as reward, said:
        solved(engine, reward, "best_of_n:n=2,verifier=reward_model")


VLLM_STEPS, VLLM_WHOLE = (os.environ.get(f"TTS_VLLM_{name}_URL") for name in ("STEPS", "WHOLE"))


def served(url, convention):
    """Scores of four samples by a reward model that vLLM serves."""
    models = {"prm": {"base_url": url}}
    strategy = f"best_of_n:n=4,verifier=reward_model(convention={convention},aggregate=min)"
    with FakeEngine(arithmetic()) as engine:
        result = tts.solve(QUESTION, strategy, base_url=engine.base_url, models=models).result
    assert result.error is None and result.bill.verifier.samples > 0
    return [score for scores in result.scores.values() for score in scores]


@pytest.mark.skipif(not VLLM_STEPS, reason="TTS_VLLM_STEPS_URL names no vLLM with a process reward model")
def test_vllm_gives_a_row_for_each_step() -> None:
    scores = served(VLLM_STEPS, "qwen")
    assert all(0 < step < 1 for score in scores for step in score.steps)


@pytest.mark.skipif(not VLLM_WHOLE, reason="TTS_VLLM_WHOLE_URL names no vLLM with a classifier of one class")
def test_vllm_gives_a_number_for_the_whole() -> None:
    assert all(score.value is not None for score in served(VLLM_WHOLE, "classify"))
    assert all(0 < score.value < 1 for score in served(VLLM_WHOLE, "score"))
