"""The process reward of a chat model: what it asks, how it reads the reply, and what it asks only once."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tts
from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import Request
from tts.core.budget import Limits
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import CapabilityMissing
from tts.models.cost_model import CostModel
from tts.plugins.parts import part
from tts.plugins.spec import parse_specs
from tts.plugins.verifiers import verifier
from tts.testing import FakeEngine, Sample, ScriptedCluster, VerifierContract, arithmetic
from tts.toolkit.prompts.steps import last_step
from tts.toolkit.step_scores import steps_of
from tts.types import Completion, LogprobSummary, Problem, TokenLogprob, Usage


def says(right: float, mass: float = 1.0, text: str = "+") -> LogprobSummary:
    """A reply that gives + this part of the labels' mass."""
    other = ((" +", math.log(right * mass)), ("-", math.log((1 - right) * mass))) if 0 < right < 1 else ()
    return LogprobSummary(-1.0, -1.0, tail=(TokenLogprob(text, math.log(1e-9), other),))


class TestLast(VerifierContract):
    verifier = "prm"
    replies = (
        Completion("+", logprobs=says(0.9)),
        Completion("-", logprobs=says(0.2, text="-")),
        Completion("+", logprobs=says(0.9, 0.3)),
        Completion("Yes", logprobs=says(0.9, text="Yes")),
        Completion(""),
    )


class TestProduct(TestLast):
    verifier = "prm(aggregate=prod)"


def judged(*texts, aggregate="last", right=lambda prefix: 0.9, budget=Limits(), times=1, **reply):
    """The scores of texts, verified together `times` times, and the outcome. `right`: P(+) by the prefix."""
    scores = []

    def model(request, number):
        asked = request.messages[-1].content
        if "Is its last step right?" not in asked:
            return Sample(text=texts[number], tokens=1)
        prefix = asked.partition("one step a line:\n")[2].partition("\n\nIs its last")[0]
        return Sample(text="+", tokens=1, **({"logprobs": says(right(prefix))} | reply))

    async def strategy(problem, run):
        found = await run.generate(n=len(texts))
        for _ in range(times):
            scores.append(await run.verify(found, "v"))
        return found[0]

    made = {"v": verifier(f"prm(aggregate={aggregate})")}
    return scores, ScriptedCluster(model, verifiers=made, budget=budget).run(strategy, "What is 2 + 2?")


def asked_about(outcome) -> list[str]:
    return [prompt for prompt in outcome.prompts if "Is its last step right?" in prompt]


def test_the_last_step_of_a_prefix_is_judged_in_one_token_with_log_probabilities() -> None:
    [[score]], outcome = judged("<think>hm</think>2 + 2 = 4\n\nAnswer: 4\n", right=lambda _: 0.75)
    (asked,) = [a for a in outcome.generated if a.helps]
    assert asked.request.messages[-1].content == last_step("What is 2 + 2?", "2 + 2 = 4\nAnswer: 4")
    assert (asked.request.sampling.max_tokens, asked.request.sampling.temperature) == (1, 0.0)
    assert asked.request.sampling.top_logprobs > 0
    assert (score.value, score.mass) == (pytest.approx(0.75), pytest.approx(1.0))
    assert (score.kind, score.text, score.steps) == ("probability", "last of 2 steps", (None, score.value))
    assert outcome.result.bill.verifier.tokens == 1


@pytest.mark.parametrize(("aggregate", "value"), [("last", 0.8), ("min", 0.5), ("prod", 0.36), ("mean", 2.2 / 3)])
def test_the_score_states_how_the_steps_were_put_together(aggregate: str, value: float) -> None:
    of = {"a": 0.9, "a\nb": 0.5, "a\nb\nc": 0.8}
    [[score]], _ = judged("a\nb\nc", aggregate=aggregate, right=of.__getitem__)
    assert score.value == pytest.approx(value)
    assert score.text == f"{aggregate} of 3 steps"
    if aggregate != "last":
        assert score.steps == pytest.approx((0.9, 0.5, 0.8))


lines = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("\n".join)


@given(texts=st.lists(lines, min_size=1, max_size=5), aggregate=st.sampled_from(["last", "min", "prod", "mean"]))
@settings(max_examples=25)
def test_one_prefix_is_judged_once_however_many_candidates_begin_with_it(texts: list[str], aggregate: str) -> None:
    scores, outcome = judged(*texts, aggregate=aggregate, times=2)
    prefixes = {text[: 2 * k - 1] for text in texts for k in range(1, text.count("\n") + 2)}
    needed = set(texts) if aggregate == "last" else prefixes
    assert sorted(asked_about(outcome)) == sorted(last_step("What is 2 + 2?", prefix) for prefix in needed)
    assert scores[0] == scores[1]


def test_chains_side_by_side_that_need_the_same_prefix_pay_for_it_once() -> None:
    async def strategy(problem, run):
        found = await run.generate(n=4)
        await run.gather(*(run.verify([candidate], "prm(aggregate=min)") for candidate in found))
        return found[0]

    def model(request, number):
        text = "a\nb\nc" if number < 4 else "+"
        return Sample(text=text, tokens=1, logprobs=says(0.9))

    outcome = ScriptedCluster(model).run(strategy)
    assert len(asked_about(outcome)) == 3
    assert all(scores[0].value == pytest.approx(0.9) for scores in outcome.result.scores.values())


@pytest.mark.parametrize("reply", [says(0.9, 0.4), says(0.9, text="Yes"), says(1.0, text="~")])
@pytest.mark.parametrize("aggregate", ["last", "mean"])
def test_without_enough_label_mass_it_abstains_and_the_abstention_is_in_the_result(reply, aggregate) -> None:
    [[score]], outcome = judged("a\nb", aggregate=aggregate, logprobs=reply)
    assert score.value is None and score.mass < 0.5 and "no judgement" in score.text
    assert [s.value for s in outcome.result.scores["scripted/p/1"]] == [None]


def test_a_text_without_steps_is_not_asked_about_and_abstains() -> None:
    [scores], outcome = judged("", "<think>on and on", " \n\n")
    assert [(score.value, score.text) for score in scores] == [(None, "no steps")] * 3
    assert asked_about(outcome) == []


def test_a_reply_without_log_probabilities_ends_the_trial_with_the_reason() -> None:
    _, outcome = judged("a", logprobs=None)
    assert outcome.result.error.type == "CapabilityMissing"
    assert "replied without log-probabilities: `tts doctor`" in outcome.result.error.message


def test_what_the_budget_does_not_hold_is_an_abstention_and_what_was_judged_stays() -> None:
    [[first, second]], outcome = judged("a\nb", "c\nd", aggregate="min", budget=Limits(samples=5))
    assert (first.value, second.value) == (pytest.approx(0.9), None)
    assert second.text == "min of 2 steps, of which 1 have no judgement"
    assert outcome.result.exhausted


def test_an_unknown_aggregate_is_refused_by_its_name() -> None:
    with pytest.raises(Exception, match=r"aggregate must be one of last, min, prod, mean, but got 'max'"):
        verifier("prm(aggregate=max)")


def test_of_candidates_that_are_judged_alike_the_first_is_picked() -> None:
    def model(request, number):
        same = Sample(text="+", tokens=1, logprobs=says(0.5))
        return same if "last step" in request.messages[-1].content else Sample(text=f"Answer: {number}", tokens=1)

    outcome = ScriptedCluster(model).run("best_of_n:n=4,verifier=prm")
    assert outcome.result.answer == "0"


def test_right_prefixes_are_told_from_wrong_ones_as_well_as_the_replies_tell_them() -> None:
    right, wrong = [f"good {n}" for n in range(12)], [f"bad {n}" for n in range(12)]

    def probability(prefix: str) -> float:  # 0.20, 0.25 ... 0.75 of wrong ones, 0.12 higher of right ones
        word, _, number = prefix.partition(" ")
        return 0.2 + 0.05 * int(number) + (0.12 if word == "good" else 0.0)

    [scores], _ = judged(*right, *wrong, right=probability)
    values = [score.value for score in scores]
    pairs = [a > b for a in values[:12] for b in values[12:]]
    assert sum(pairs) / len(pairs) == pytest.approx(99 / 144)


def test_a_server_that_refuses_log_probabilities_is_named_and_not_asked_again_without() -> None:
    with FakeEngine(arithmetic(), rejects=("logprobs", "top_logprobs")) as engine:
        with pytest.raises(CapabilityMissing, match=r"a verifier such as prm.*gives no log-probabilities"):
            tts.solve("What is 2 + 2?", "best_of_n:n=2,verifier=prm", base_url=engine.base_url)
        assert not any(request["max_tokens"] == 1 and "logprobs" not in request for request in engine.requests)


@pytest.fixture
def few_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 40 refusals, in place of 2,000, a strategy is taken for one that asks for ever."""
    monkeypatch.setattr(tts.core.trials.trial, "MOST_REFUSALS", 20)
    monkeypatch.setattr(tts.core.trials.verifying, "MOST_REFUSALS", 20)


@pytest.mark.parametrize("aggregate", ["last", "min"])
def test_questions_that_the_budget_turns_down_are_abstentions_however_many(aggregate, few_refusals) -> None:
    texts = [f"Answer: {n % 7}\nStep {n}" for n in range(90)]
    scores, outcome = judged(*texts, aggregate=aggregate, budget=Limits(samples=100), times=2)
    known = [score for score in scores[0] if score.value is not None]
    assert outcome.result.error is None and outcome.result.exhausted
    assert len(asked_about(outcome)) == 10 and len(known) == (10 if aggregate == "last" else 5)
    assert outcome.result.unverified == 2 * (len(texts) - len(known))


def test_a_tree_that_is_far_wider_than_the_budget_ends_by_the_rule_of_its_search(few_refusals) -> None:
    def model(request, number):
        if "last step" in request.messages[-1].content:
            return Sample(text="+", tokens=1, logprobs=says(0.9))
        return Sample("7", tokens=1) if number % 2 else Sample(text=f"step {number}", stopped_by="\n", tokens=1)

    made = {"prm": verifier("prm")}
    for search in ("beam_search:n=200,m=2", "rebase:n=200", "dvts:n=200,m=2", "particle_filter:n=200,size=200"):
        outcome = ScriptedCluster(model, verifiers=made, budget=Limits(samples=80)).run(search)
        assert (outcome.result.error, outcome.result.answer, outcome.result.exhausted) == (None, "7", True), search


class Lines:
    """Texts of a few lines, by the sample's seed, and verdicts; keeps the prompts that were paid for."""

    def __init__(self) -> None:
        self.questions: list[str] = []

    def complete(self, request: Request) -> tuple[float, Completion]:
        draw, asked = Random(request.seed), request.messages[-1].content
        if request.measure:
            self.questions.append(asked)
            return draw.random(), Completion("[[0.5]]", usage=Usage(1, 0))
        if "Is its last step right?" in asked:
            self.questions.append(asked)
            return draw.random(), Completion("+", usage=Usage(1, 1), logprobs=says(0.9))
        if request.step:
            ended = draw.random() < 0.5
            text = f"Answer: {draw.randrange(3)}" if ended else f"line {draw.randrange(3)}"
            return draw.random(), Completion(text, usage=Usage(1, 1), stopped_by=None if ended else "\n")
        return draw.random(), Completion(f"line {draw.randrange(3)}\nAnswer: {draw.randrange(3)}", usage=Usage(1, 1))


VERIFIERS = ("prm", "prm(aggregate=min)", "reward_model(convention=skywork)")
cells = st.one_of(
    st.integers(1, 6).map(lambda n: f"best_of_n:n={n},verifier=V"),
    st.integers(2, 6).map(lambda n: f"beam_search:n={n},m=2,verifier=V"),
)


@given(texts=st.lists(cells, min_size=1, max_size=4, unique=True), name=st.sampled_from(VERIFIERS))
@settings(max_examples=25, deadline=None)
def test_cells_of_a_run_pay_for_a_question_about_a_sample_once_whatever_their_n(texts: list[str], name: str) -> None:
    specs = [spec for text in texts for spec in parse_specs(text.replace("V", name))]
    world, results = Lines(), list[Result]()
    plan = [Planned(f"cell{i}", Problem("p", "1 + 1?"), spec) for i, spec in enumerate(specs)]
    scheduler = Scheduler(plan, part, costs=CostModel(), verifiers={name: verifier(name)})
    SimulatedCluster(world).run(scheduler, on_result=lambda result, _: results.append(result))
    assert [result.error for result in results] == [None] * len(specs)
    assert world.questions and len(world.questions) == len({*world.questions})


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("<think>\na = 1\nb = 2\n</think>\n\nx = 3\n\nAnswer: 3", ("x = 3", "Answer: 3")),
        ("a = 1\n</think>\nx = 3", ("x = 3",)),  # the template has begun the thought
        ("<think>a</think>x = 3\n<think>\nb\n</think>\nAnswer: 3", ("x = 3", "Answer: 3")),
        ("<think>\na = 1\n", ()),
        ("<think>\n</think>", ()),
        ("x = 3\n<think>\nb = 2\n", ()),
    ],
)
def test_steps_are_the_lines_of_the_solution_and_none_of_the_thoughts(text: str, steps: tuple[str, ...]) -> None:
    assert steps_of(text) == steps
    [[score]], outcome = judged(text, aggregate="min")
    assert len(score.steps) == len(asked_about(outcome)) == len(steps)
    assert (score.value is None) == (not steps)


def test_a_search_over_a_model_that_thinks_first_pays_for_no_judgement_of_its_thoughts() -> None:
    lines = ["<think>", "so 2 + 2 is 4", "</think>", "2 + 2 = 4"]

    def model(request, number):
        if "last step" in request.messages[-1].content:
            return Sample(text="+", tokens=1, logprobs=says(0.9))
        depth = request.continue_from.count("\n")
        return Sample(text=lines[depth], stopped_by="\n", tokens=1) if depth < 4 else Sample("4", tokens=1)

    outcome = ScriptedCluster(model, verifiers={"prm": verifier("prm")}).run("beam_search:n=4,m=2")
    assert outcome.result.answer == "4"
    assert asked_about(outcome) == [last_step("What is 2 + 2?", text) for text in ("2 + 2 = 4", "2 + 2 = 4\nAnswer: 4")]
