"""Selection by scores: contracts, and what each rule chooses."""

import random

import pytest
from samples import scored
from trees import Brief

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.plugins.dependencies import verifier_names
from tts.plugins.spec import parse_specs
from tts.strategies.selection.pandora import fair_cap
from tts.testing import Sample, ScriptedCluster
from tts.testing.worlds import answer_or_verdict

SAYS = "do most others agree with"


class TestBestOfMajority(Brief):
    strategy = "best_of_majority:n=4,m=2"
    order_free = True


class TestBestOfMajorityOfOpenN(Brief):
    strategy = "best_of_majority:n=none"
    budget = Limits(samples=7)


class TestPessimistic(Brief):
    strategy = "pessimistic:n=3,verifications=2"
    order_free = True


class TestPessimisticOfOpenN(Brief):
    strategy = "pessimistic:n=none,verifier=judge"
    budget = Limits(samples=7)


class TestPandora(Brief):
    strategy = "pandora:n=6"

    def counted(self, n: int) -> None:
        """A sample is asked for where the scores of those before say so."""


class TestPandoraOfOpenN(TestPandora):
    strategy = "pandora:n=none,verifier=self_certainty"
    budget = Limits(samples=9)


class TestCascade(Brief):
    strategy = "cascade:n=6"


class TestTrustOrEscalate(Brief):
    strategy = "trust_or_escalate:n=3,verdicts=2"
    order_free = True


class TestTrustOrEscalateOfOpenN(Brief):
    strategy = "trust_or_escalate:n=none,verdicts=2"
    budget = Limits(samples=8)


class TestSampleScrutinizeScale(Brief):
    strategy = "sample_scrutinize_scale:n=3,verifications=2,margin=0.6,tie_verifier=judge"

    def text(self, request: Request, draw: random.Random) -> str:
        """Verdicts depend on the solution alone: in a meeting, a request's seed is of its place among all requests,
        which the number of samples asked for moves."""
        prompt = request.messages[-1].content
        return answer_or_verdict(request, random.Random(prompt) if "(Yes/No)" in prompt else draw)


class TestWeaver(Brief):
    strategy = "weaver:n=3,verifiers=genrm+judge"


class TestWeaverOfOpenN(Brief):
    strategy = "weaver:n=none"
    budget = Limits(samples=9)


class TestUSC(Brief):
    strategy = "usc:n=4"

    def text(self, request: Request, draw: random.Random) -> str:
        if SAYS in request.messages[-1].content:
            return draw.choice(("[[1]]", "Most say so. [[2]]", "none of them"))
        return answer_or_verdict(request, draw)


def answer(spec: str, script, **limits) -> str | None:
    result = ScriptedCluster(script, budget=Limits(**limits)).run(spec).result
    assert result.error is None
    return result.answer


def both(*triples) -> list[Sample]:
    """Samples with the scores of the verifiers `one` and `two`."""
    return [Sample(a, scores={"one": one, "two": two}) for a, one, two in triples]


def test_best_of_majority_is_the_vote_with_m_1_and_best_of_n_with_m_n() -> None:
    script = scored(("1", 0.4), ("1", 0.5), ("2", 0.9), ("1", 0.3), ("3", 0.8))
    for m, chosen in ((1, "1"), (5, "2")):
        assert answer(f"best_of_majority:trust=blind,n=5,m={m},verifier=judge", script) == chosen
    spread = scored(("1", 0.9), ("2", 0.8), ("2", 0.7), ("2", 0.6))  # of the six pairs 1 wins three, and 2 three
    assert answer("best_of_majority:trust=blind,n=4,m=2,verifier=judge", spread) == "1"
    tied = scored(("1", 0.5), ("2", 0.5), ("2", 0.5))
    assert answer("best_of_majority:trust=blind,n=3,m=2,verifier=judge", tied) == "2"


def test_pessimism_prefers_what_many_candidates_say_to_one_high_score() -> None:
    script = scored(("1", 0.6), ("2", 0.9), ("1", 0.7), ("1", 0.6))
    for alpha, chosen in ((0, "2"), (0.1, "2"), (5, "1")):
        assert answer(f"pessimistic:trust=blind,n=4,alpha={alpha},verifier=judge", script) == chosen
    rewards = [Sample(s.answer, scores={"judge": 100 * s.scores["judge"] - 70}) for s in script]
    assert (
        answer("pessimistic:trust=blind,n=4,alpha=0.1,verifier=judge", rewards) == "2"
    )  # the unit of the scores does not count
    assert answer("pessimistic:trust=blind,n=3,verifier=judge", scored(("1", 0.5), ("2", 0.5), ("2", 0.5))) == "2"


def test_pandora_stops_when_the_best_is_worth_more_than_another_sample_adds() -> None:
    script = scored(*[(str(i), v) for i, v in enumerate((0.5, 0.52, 0.51, 0.9, 0.2, 0.3, 0.4, 0.6))])
    few = ScriptedCluster(script).run("pandora:n=8,price=0.2,verifier=judge")
    assert len(few.generated) == 3 and few.result.answer == "1"
    many = ScriptedCluster(script).run("pandora:n=8,price=0.001,verifier=judge")
    assert len(many.generated) == 8 and many.result.answer == "3"


def test_the_fair_cap_falls_with_the_price_and_is_below_everything_where_scores_do_not_differ() -> None:
    scores = [0.1, 0.2, 0.4, 0.8]
    caps = [fair_cap(scores, price) for price in (0.001, 0.01, 0.1)]
    assert caps == sorted(caps, reverse=True) and caps[0] > 0.8
    assert fair_cap([0.7, 0.7, 0.7], 0.01) < 0


def test_a_cascade_keeps_a_share_then_the_best_and_votes_among_those_that_tie() -> None:
    script = both(("1", 0.9, 0.2), ("2", 0.8, 0.7), ("3", 0.7, 0.7), ("4", 0.1, 1.0), ("3", 0.6, 0.7), ("5", 0.2, 0.9))
    spec = "cascade:trust=blind,n=6,verifiers=one+two,keep=0.6"
    outcome = ScriptedCluster(script).run(spec)
    assert outcome.result.answer == "3"
    assert [len([a for a in outcome.verified if a.verifier == name]) for name in ("one", "two")] == [6, 4]
    assert answer("cascade:trust=blind,n=6,verifiers=one+two,keep=0", script) == "1"
    assert answer("cascade:trust=blind,n=6,verifiers=two,keep=0", script) == "4"
    again = ScriptedCluster(script).run(f"{spec.replace('one+two', 'one+two+one')}")
    assert again.result.answer == "2"  # of 2 and the two of 3, which tie, the one that the first scores highest
    assert len(again.verified) == 10


def test_a_filter_whose_verifier_abstains_leaves_everything_and_an_unknown_one_breaks_ties_only() -> None:
    silent = both(("1", None, 0.1), ("2", None, 0.9))
    assert answer("cascade:trust=blind,n=2,verifiers=one+two", silent) == "2"
    lead = both(("1", 0.1, 0.1), ("1", 0.1, 0.1), ("1", 0.1, 0.1), ("2", 1.0, 1.0))
    assert answer("cascade:n=4,verifiers=one+two", lead) == "1"
    assert answer("cascade:n=4,verifiers=one+two,trust=blind", lead) == "2"


def test_shares_that_are_none_are_refused() -> None:
    for keep in ("half", "2"):
        result = ScriptedCluster(["1"]).run(f"cascade:n=1,keep={keep},verifiers=judge").result
        assert result.error is not None and result.error.type == "InvalidParameter"
        assert "keep must be shares" in result.error.message


def test_a_strong_judge_is_asked_only_where_the_cheap_one_is_not_sure_and_its_score_counts() -> None:
    script = both(("1", 0.95, None), ("2", 0.6, 0.99), ("3", 0.05, None), ("4", None, 0.2))
    spec = "trust_or_escalate:trust=blind,n=4,verdicts=1,verifier=one,strong_verifier=two,selector=best_score"
    outcome = ScriptedCluster(script).run(spec)
    assert outcome.result.answer == "2"
    assert [a.candidate.answer for a in outcome.verified if a.verifier == "two"] == ["2", "4"]
    never = both(("1", 0.6, 0.55), ("2", 0.5, 0.4), ("2", 0.5, 0.5))  # neither is sure of anything: the plain vote
    assert (
        answer("trust_or_escalate:trust=blind,n=3,verifier=one,strong_verifier=two,strong_threshold=0.9", never) == "2"
    )


def test_scrutiny_compares_those_within_the_margin_and_takes_the_best_alone_where_none_is() -> None:
    script = [Sample(a, scores={"v": v, "tie": t}) for a, v, t in (("1", 0.8, 0.1), ("2", 0.78, 0.9), ("3", 0.2, 1.0))]
    spec = "sample_scrutinize_scale:trust=blind,n=3,verifications=1,verifier=v,tie_verifier=tie"
    outcome = ScriptedCluster(script).run(spec)
    assert outcome.result.answer == "2"
    assert {a.candidate.answer for a in outcome.verified if a.verifier == "tie"} == {"1", "2"}
    assert answer(f"{spec},margin=0.01", script) == "1"


def test_weaver_trusts_verifiers_that_agree_over_one_that_does_not() -> None:
    """The vote is level; two verifiers agree with each other, the third says the contrary of both."""
    samples = [("1", 0.9, 0.8, 0.1), ("2", 0.2, 0.1, 0.9), ("1", 0.8, 0.7, 0.2), ("2", 0.1, 0.3, 0.8)]
    script = [Sample(a, scores={"one": x, "two": y, "odd": z}) for a, x, y, z in samples]
    assert answer("weaver:n=4,verifiers=odd+two+one", script) == "1"
    assert answer("weaver:n=4,verifiers=odd", script) == "1"  # against the vote's first: one label does not outweigh it


def test_weaver_is_the_plain_vote_where_every_verifier_abstains() -> None:
    script = [Sample(a, scores={"one": None}) for a in ("1", "2", "2", None)]
    assert answer("weaver:n=4,verifiers=one", script) == "2"


def test_a_model_s_choice_of_the_most_consistent_text_is_taken_and_an_unreadable_one_leaves_the_vote() -> None:
    def reply(choice: str, texts):
        return lambda request, number: Sample(text=choice if SAYS in request.messages[-1].content else texts[number])

    poems = ["a rose", "a rock", "one rose"]
    chosen = ScriptedCluster(reply("[[3]]", poems)).run("usc:n=3").result
    assert chosen.selected is not None and chosen.selected.text == "one rose" and chosen.bill.verifier.samples == 1
    answers = ["Answer: 1", "Answer: 2", "Answer: 2"]
    assert ScriptedCluster(reply("I cannot", answers)).run("usc:n=3").result.answer == "2"
    agreed = ScriptedCluster(reply("[[1]]", ["Answer: 2"] * 3)).run("usc:n=3").result
    assert agreed.answer == "2" and agreed.bill.verifier.samples == 0


def test_several_verifiers_of_one_parameter_are_all_named_each_by_its_one_text() -> None:
    (spec,) = parse_specs("weaver:n=2,verifiers=genrm(max_tokens=064)+tts.verifiers.generative.judge:Judge")
    assert spec.params["verifiers"] == "genrm(max_tokens=64)+judge"
    assert list(verifier_names([spec])) == ["genrm(max_tokens=64)", "judge"]
    assert list(verifier_names(parse_specs("weaver"))) == ["genrm", "judge", "self_certainty"]


@pytest.mark.parametrize("spec", ["pessimistic:alpha=-1", "pandora:price=0", "best_of_majority:m=0", "cascade:least=0",
                                  "trust_or_escalate:verdicts=0", "genselect:window=1", "knockout:games=0",
                                  "swiss:rounds=0", "pivot:pivots=0", "sample_scrutinize_scale:games=0"])  # fmt: skip
def test_a_parameter_that_is_out_of_range_is_refused_before_anything_is_paid_for(spec: str) -> None:
    outcome = ScriptedCluster(["1"] * 8).run(spec)
    assert outcome.result.error is not None and outcome.result.error.type == "InvalidParameter"
    assert not outcome.generated
