"""Every strategy passes the contract, and does what its paper says."""

import inspect
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.core.actions import Generate
from tts.core.budget import Limits
from tts.core.result import Shortage
from tts.core.scheduling.steps import decided_of
from tts.core.trials.blocks import OPEN_FAILURES
from tts.errors import ServerFailed
from tts.plugins.names import built_in, strategy
from tts.plugins.signatures import describe
from tts.selectors import lead_probability, majority
from tts.strategies.selection.best_of_n import best_of_n
from tts.strategies.voting.esc import esc
from tts.strategies.voting.majority_vote import majority_vote
from tts.testing import NoisyWorld, Sample, ScriptedCluster, StrategyContract
from tts.testing.cluster import Outcome
from tts.toolkit.revisions import MEMORY
from tts.types import Completion, LogprobSummary, Problem, Sampling
from tts.verifiers.confidence.self_certainty import SelfCertainty
from tts.verifiers.generative.genrm import GenRM

BROKEN = ServerFailed("the server is on fire")


class TestSingle(StrategyContract):
    strategy = "single"
    order_free = True


class TestBestOfN(StrategyContract):
    strategy = "best_of_n:n=4"
    order_free = True


class TestBestOfNThatAsksAJudge(StrategyContract):
    strategy = "best_of_n:n=3,verifier=judge,selector=borda"
    order_free = True


class TestBestOfOpenN(StrategyContract):
    strategy = "best_of_n:n=none"
    budget = Limits(samples=6)


class TestMajorityVote(StrategyContract):
    strategy = "majority_vote:n=5"
    order_free = True


class TestAdaptiveConsistency(StrategyContract):
    strategy = "majority_vote:n=8,stop_at=0.95"
    order_free = True


class TestAdaptiveConsistencyOnArrivals(StrategyContract):
    strategy = "majority_vote:n=8,stop_at=0.95,ahead=5"


class TestOpenAdaptiveConsistency(StrategyContract):
    strategy = "majority_vote:n=none,stop_at=0.95"
    budget = Limits(samples=7)


class TestEarlyStoppingSelfConsistency(StrategyContract):
    strategy = "esc:n=8,window=3"
    order_free = True


class TestOpenEarlyStoppingSelfConsistency(StrategyContract):
    strategy = "esc:n=none,window=2,ahead=5"
    budget = Limits(samples=7)
    order_free = True


class TestFirstFinish(StrategyContract):
    strategy = "first_finish:n=5,k=2"


class TestGenRM(StrategyContract):
    strategy = "genrm:n=3,verifications=2"
    order_free = True


class TestOpenGenRM(StrategyContract):
    strategy = "genrm:n=none,verifications=2,selector=best_score"
    budget = Limits(samples=8)


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


class TestComputeOptimal(StrategyContract):
    strategy = "compute_optimal:policy=0.5:sequential_revision/2x3;0.8:best_of_n/6;majority_vote/4,verifier=judge"
    order_free = True

    def counted(self, n):
        return {"policy": f"0.5:best_of_n/{n};majority_vote/{n}"}


class TestComputeOptimalByAJudgeSScores(StrategyContract):
    strategy = "compute_optimal:policy=0.5:best_of_n/5;majority_vote/2,pilot=3,difficulty=score,verifier=judge"
    order_free = True


def test_every_strategy_of_the_library_has_its_contract_in_this_folder():
    sources = [path.read_text() for path in Path(__file__).parent.rglob("test_*.py")]
    held = {name for source in sources for name in re.findall(r'^    strategy = "(\w+)', source, re.MULTILINE)}
    assert held == built_in("strategies").keys()


@pytest.mark.parametrize("name", built_in("strategies"))
def test_the_docstring_of_every_strategy_gives_its_arguments_its_paper_and_its_differences_from_it(name):
    doc = inspect.getdoc(strategy(name)) or ""
    info = describe(name)
    assert "Args:\n" in doc and "Raises:" in doc
    assert all(parameter.help for parameter in info.parameters)
    if name != "single":
        assert re.search(r"arXiv:\d{4}\.\d{5}", doc)
        assert info.paper
        assert "Differences from the paper" in doc


def answers(outcome: Outcome) -> list[str | None]:
    return [candidate.answer for candidate in outcome.result.candidates]


# --- single


def test_single_takes_one_sample_at_the_temperature_it_is_told():
    outcome = ScriptedCluster(["4", "5"]).run("single:temperature=0")
    assert outcome.result.answer == "4"
    assert [action.request.sampling.temperature for action in outcome.generated] == [0.0]
    default = ScriptedCluster(["4"], sampling=Sampling(temperature=0.3)).run("single")
    assert default.generated[0].request.sampling.temperature == 0.3


def test_single_says_that_its_only_sample_failed():
    result = ScriptedCluster([BROKEN]).run("single").result
    assert (result.selected, result.error.type) == (None, "AllFailed")


# --- best of n


def scored(*pairs: tuple[str | None, float | None]) -> list[Sample]:
    return [Sample(answer, scores={"judge": score}) for answer, score in pairs]


def test_best_of_n_keeps_the_highest_score_and_passes_over_abstentions():
    script = scored(("1", 0.2), ("2", None), ("3", 0.7), ("4", 0.6), ("5", None))
    outcome = ScriptedCluster(script).run("best_of_n:n=5,verifier=judge")
    assert outcome.result.answer == "3"
    assert len(outcome.verified) == 5


def test_best_of_n_takes_a_score_of_zero_for_a_value_and_an_abstention_for_none():
    assert ScriptedCluster(scored(("1", None), ("2", 0.0))).run("best_of_n:n=2,verifier=judge").result.answer == "2"


def test_best_of_n_prefers_a_candidate_with_an_answer_and_votes_where_every_verifier_abstained():
    script = scored((None, 0.9), ("2", 0.1))
    assert ScriptedCluster(script).run("best_of_n:n=2,verifier=judge").result.answer == "2"
    silent = scored(("1", None), ("2", None), ("2", None))
    assert ScriptedCluster(silent).run("best_of_n:n=3,verifier=judge").result.answer == "2"


def test_best_of_n_by_default_scores_by_self_certainty():
    sure = [Sample(a, logprobs=LogprobSummary(-1.0, -2.0, value)) for a, value in (("1", 0.2), ("2", 1.4), ("3", 0.9))]
    outcome = ScriptedCluster(sure, verifiers={"self_certainty": SelfCertainty()}).run("best_of_n:n=3")
    assert outcome.result.answer == "2"
    assert outcome.result.bill.verifier.tokens == 0


# --- majority


def test_majority_ties_go_to_the_answer_first_asked_for_whatever_arrived_first():
    script = [Sample("7", seconds=9.0), Sample("8", seconds=1.0), Sample("8", seconds=2.0), Sample("7", seconds=3.0)]
    outcome = ScriptedCluster(script).run("majority_vote:n=4")
    assert answers(outcome) == ["8", "8", "7", "7"]
    assert outcome.result.answer == "7"


def test_what_does_not_parse_never_forms_a_class():
    outcome = ScriptedCluster([Sample(), Sample(), Sample(), "5"]).run("majority_vote:n=4")
    assert outcome.result.answer == "5"
    assert outcome.result.bill.total.samples == 4


def test_a_vote_without_a_single_answer_still_returns_what_was_paid_for():
    outcome = ScriptedCluster([Sample(text="dunno"), Sample()]).run("majority_vote:n=2")
    assert (outcome.result.answer, outcome.result.selected.text) == (None, "dunno")


@pytest.mark.parametrize("spec", ["majority_vote:n=3", "majority_vote:n=3,stop_at=0.95"])
def test_majority_votes_over_the_samples_that_did_not_fail(spec):
    outcome = ScriptedCluster([BROKEN, "5", BROKEN]).run(spec)
    assert outcome.result.answer == "5"
    assert len(outcome.generated) == 3
    nothing = ScriptedCluster([BROKEN, BROKEN, BROKEN]).run(spec).result
    assert nothing.error.type == "AllFailed"


def test_an_open_count_does_not_ask_a_broken_server_for_ever():
    script = ["5", *[BROKEN] * 50]
    outcome = ScriptedCluster(script, budget=Limits(samples=40)).run("majority_vote:n=none,stop_at=0.95")
    assert outcome.result.answer == "5"
    assert len(outcome.generated) == 1 + OPEN_FAILURES + 2  # two were in flight beside the eighth failure in a row


@pytest.mark.parametrize("rule", ["majority_vote:n={},stop_at=0.95", "esc:n={},window=3", "esc:n={},window=3,ahead=4"])
def test_failures_before_the_first_sample_end_an_open_count_only_where_as_many_end_it_later(rule):
    for failures in (4, OPEN_FAILURES - 1):
        cluster = ScriptedCluster([BROKEN] * failures + ["5"] * 40, budget=Limits(samples=40))
        assert cluster.run(rule.format("none")).result.answer == "5"
    outcome = ScriptedCluster([BROKEN] * 40, budget=Limits(samples=40)).run(rule.format("none"))
    assert outcome.result.error.type == "AllFailed"
    assert OPEN_FAILURES <= len(outcome.generated) < 2 * OPEN_FAILURES


def test_adaptive_consistency_stops_at_four_to_nothing_and_not_at_three():
    outcome = ScriptedCluster(["4"] * 8).run("majority_vote:n=8,stop_at=0.95")
    assert len(outcome.generated) == 4
    three = ScriptedCluster(["4"] * 3 + ["5"] * 5).run("majority_vote:n=8,stop_at=0.95")
    assert len(three.generated) == 8


def test_adaptive_consistency_looks_only_between_batches():
    assert len(ScriptedCluster(["4"] * 8).run("majority_vote:n=8,stop_at=0.95,batch=3").generated) == 6
    assert len(ScriptedCluster(["4"] * 8).run("majority_vote:n=7,stop_at=1.0,batch=3").generated) == 7


def sequences(length: int, seen: int = 0):
    """Every sequence of answers, up to their names: each place repeats one that was seen, or adds a new one."""
    if length == 0:
        yield ()
        return
    for answer in range(seen + 1):
        for rest in sequences(length - 1, max(seen, answer + 1)):
            yield (answer, *rest)


def adaptive(sequence) -> Outcome:
    script = [Sample(None if answer is None else str(answer)) for answer in sequence]
    return ScriptedCluster(script).run("majority_vote:n=8,stop_at=0.95")


def first_seen_majority(sequence):
    counts = {answer: sequence.count(answer) for answer in sequence if answer is not None}
    return max(counts, key=counts.get) if counts else None


def test_at_95_percent_adaptive_consistency_of_8_is_the_vote_of_8_for_every_sequence_of_answers():
    saved = 0
    every = list(sequences(8))
    assert len(every) == 4140  # Bell(8)
    for sequence in every:
        outcome = adaptive(sequence)
        assert outcome.result.answer == str(first_seen_majority(sequence)), sequence
        saved += 8 - len(outcome.generated)
    assert saved > 0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.none() | st.integers(0, 3), min_size=8, max_size=8))
def test_so_it_is_where_some_samples_do_not_parse(sequence):
    winner = first_seen_majority(sequence)
    assert adaptive(sequence).result.answer == (None if winner is None else str(winner))


ANSWERS_THAT_ARRIVE = st.lists(
    st.tuples(st.sampled_from("AAABC?!"), st.integers(1, 20)), min_size=12, max_size=12, unique_by=lambda pair: pair[1]
)


def arriving(pairs) -> list[Sample | Exception]:
    """Of each a sample that takes so many seconds: `?` has no answer, and `!` fails."""
    return [BROKEN if a == "!" else Sample(None if a == "?" else a, seconds=s, tokens=s) for a, s in pairs]


def lead_of(answers: str) -> tuple[int, int]:
    votes = Counter(answer for answer in answers if answer not in "?!")
    return tuple([*(votes for _, votes in votes.most_common(2)), 0, 0][:2])


@settings(max_examples=40, deadline=None)
@given(ANSWERS_THAT_ARRIVE)
def test_adaptive_consistency_side_by_side_asks_for_the_samples_of_one_at_a_time(pairs):
    answers = "".join(answer for answer, _ in pairs)
    stops = next((k for k in range(13) if lead_probability(*lead_of(answers[:k])) >= 0.95), 12)
    outcome = ScriptedCluster(arriving(pairs)).run("majority_vote:n=12,stop_at=0.95")
    assert len(outcome.generated) == stops
    assert outcome.result.answer == first_seen_majority([a if a not in "?!" else None for a in answers[:stops]])
    assert outcome.result.bill.cancelled.samples == 0
    assert outcome.seconds <= sum(seconds for _, seconds in pairs[:stops])


@settings(max_examples=40, deadline=None)
@given(ANSWERS_THAT_ARRIVE)
def test_with_all_in_flight_the_vote_stops_at_the_arrival_that_settles_it_and_cancels_the_rest(pairs):
    came = [answer for answer, _ in sorted((p for p in pairs if p[0] != "!"), key=lambda pair: pair[1])]
    outcome = ScriptedCluster(arriving(pairs)).run("majority_vote:n=12,stop_at=0.95,ahead=12")
    voted = [c.answer or "?" for c in outcome.result.candidates]
    assert voted == came[: len(voted)]
    before = lead_of("".join(voted[:-1]))
    assert len(voted) < 2 or lead_probability(*before) < 0.95
    cancelled = outcome.result.bill.cancelled.samples
    if cancelled:
        a, b = lead_of("".join(voted))
        assert lead_probability(a, b) >= 0.95 or a - b > cancelled
    assert len(outcome.generated) == 12
    everything = ScriptedCluster(arriving(pairs)).run("majority_vote:n=12").result
    if outcome.result.answer != everything.answer:  # then the rule, and not what is left, has stopped it
        assert lead_probability(*lead_of("".join(voted))) >= 0.95


@pytest.mark.parametrize("n", [3, 40])
def test_a_vote_that_is_settled_early_gives_the_candidate_that_it_gives_where_the_budget_ends(n):
    """What is first in the order of asking comes last here: it must not depend on whether it was waited for."""
    script = [Sample("1", seconds=9), Sample("1", seconds=1), Sample("1", seconds=2)]
    cluster = ScriptedCluster([*script, *["1"] * 40], budget=Limits(samples=3))
    result = cluster.run(f"majority_vote:n={n},stop_at=0.95,ahead=3").result
    assert result.selected == result.candidates[0]
    assert result.selected.order == (2,)


def windowed(answers: str, window: int) -> int:
    """Where the first whole window of one answer ends, as the paper has it; else all of them."""
    ends = range(window, len(answers) + 1, window)
    return next(
        (e for e in ends if len(found := {*answers[e - window : e]}) == 1 and not found & {*"?!"}), len(answers)
    )


@settings(max_examples=40, deadline=None)
@given(ANSWERS_THAT_ARRIVE, st.integers(1, 12))
def test_esc_chooses_what_its_paper_chooses_however_many_are_ahead(pairs, ahead):
    answers = "".join(answer for answer, _ in pairs)
    stops = windowed(answers, 3)
    outcome = ScriptedCluster(arriving(pairs)).run(f"esc:n=12,window=3,ahead={ahead}")
    assert outcome.result.answer == first_seen_majority([a if a not in "?!" else None for a in answers[:stops]])
    assert stops <= len(outcome.generated) <= 12
    if ahead == 1:
        assert len(outcome.generated) == stops and outcome.result.bill.cancelled.samples == 0


def integral(a: int, b: int, low: float, high: float, steps: int = 2000) -> float:
    """Of x^a (1-x)^b, by Simpson's rule."""
    width = (high - low) / steps
    values = [(low + i * width) ** a * (1 - low - i * width) ** b for i in range(steps + 1)]
    return width / 3 * (values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2]))


@pytest.mark.parametrize(
    ("a", "b"), [(0, 0), (1, 0), (3, 0), (4, 0), (2, 2), (5, 1), (6, 1), (9, 4), (20, 12), (40, 0)]
)
def test_the_lead_s_probability_is_the_beta_integral(a, b):
    assert lead_probability(a, b) == pytest.approx(integral(a, b, 0.5, 1.0) / integral(a, b, 0.0, 1.0), rel=1e-6)


# --- first finish


def test_first_finish_cancels_the_rest_once_k_have_ended():
    script = [Sample("1", seconds=5.0), Sample("2", seconds=2.0), Sample("3", seconds=1.0), Sample("2", seconds=3.0)]
    outcome = ScriptedCluster(script).run("first_finish:n=4,k=3")
    assert answers(outcome) == ["3", "2", "2"]
    assert outcome.result.answer == "2"
    assert outcome.cancelled == ["scripted/p/1"]
    assert outcome.seconds == 3.0


def test_first_finish_waits_past_what_is_cut_or_has_no_answer():
    script = [
        Sample("1", seconds=1.0, finish_reason="length"),
        Sample(None, seconds=2.0),
        Sample("3", seconds=3.0),
        Sample("4", seconds=4.0),
    ]
    outcome = ScriptedCluster(script).run("first_finish:n=4")
    assert outcome.result.answer == "3"
    assert outcome.cancelled == ["scripted/p/4"]


def test_first_finish_takes_what_there_is_if_nothing_finished_by_itself():
    script = [Sample("1", seconds=2.0, finish_reason="length"), Sample("2", seconds=1.0, finish_reason="length")]
    assert ScriptedCluster(script).run("first_finish:n=2").result.answer == "1"
    failing = ScriptedCluster([BROKEN, Sample("2", seconds=4.0)]).run("first_finish:n=2")
    assert failing.result.answer == "2"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=2, max_size=12, unique=True), st.data())
def test_first_finish_costs_every_stream_up_to_the_moment_of_the_decision_and_no_token_less(lengths, data):
    k = data.draw(st.integers(1, len(lengths)))
    script = [Sample("1", tokens=length, seconds=length / 64) for length in lengths]
    outcome = ScriptedCluster(script, sampling=Sampling(max_tokens=512)).run(f"first_finish:n={len(lengths)},k={k}")
    cutoff = sorted(lengths)[k - 1]
    bill = outcome.result.bill
    assert bill.total.tokens == sum(min(length, cutoff) for length in lengths)
    assert bill.cancelled.tokens == cutoff * (len(lengths) - k)
    assert bill.sequential_tokens == cutoff


@pytest.mark.parametrize("spec", ["first_finish:n=0", "first_finish:k=0", "sequential_revision:chains=0",
                                  "sequential_revision:rounds=0", "best_of_n:n=0", "majority_vote:n=0",
                                  "majority_vote:n=0,stop_at=0.9", "majority_vote:stop_at=0.9,batch=0",
                                  "majority_vote:stop_at=0.9,ahead=0", "esc:ahead=0", "genrm:n=0",
                                  "genrm:verifications=0"])  # fmt: skip
def test_a_count_below_one_is_refused_before_anything_is_paid_for(spec):
    outcome = ScriptedCluster(["1"] * 20).run(spec)
    assert outcome.result.error.type == "InvalidParameter"
    assert "must be at least 1, but got 0" in outcome.result.error.message
    assert not outcome.generated or spec.startswith("genrm:verif")


@pytest.mark.parametrize("called", [(majority_vote, {"stop_at": 0.95}), (esc, {}), (best_of_n, {"verifier": "judge"})])
def test_an_open_count_that_no_budget_would_end_is_refused_also_where_another_strategy_asks_for_it(called):
    async def composed(problem, run):
        return await called[0](problem, run, n=None, **called[1])

    outcome = ScriptedCluster(scored(("1", 0.1), ("2", 0.2)) * 20).run(composed)
    assert outcome.result.error.type == "InvalidParameter"
    assert "n=None spends the whole budget, but there is none" in outcome.result.error.message
    assert not outcome.generated


@pytest.mark.parametrize("stop_at", ["95", "0", "-0.5", "1.01"])
def test_a_stopping_probability_that_is_none_is_refused_before_anything_is_paid_for(stop_at):
    outcome = ScriptedCluster(["1"] * 20).run(f"majority_vote:stop_at={stop_at}")
    assert "stop_at must be a probability above 0 and at most 1" in outcome.result.error.message
    assert not outcome.generated


# --- genrm


def test_genrm_asks_s_solutions_and_v_verifications_of_each():
    script = [Sample("1", scores={"judge": 0.5})] * 3
    outcome = ScriptedCluster(script, verification_tokens=20).run("genrm:n=3,verifications=4,verifier=judge")
    assert (len(outcome.generated), len(outcome.verified)) == (3, 12)
    bill = outcome.result.bill
    assert (bill.answers.tokens, bill.verifier.tokens, bill.total.samples) == (30, 240, 15)
    assert len({action.request.seed for action in outcome.verified}) == 12
    assert bill.sequential_tokens == 30


def test_genrm_weighs_votes_by_the_mean_verdict_or_keeps_the_best():
    script = scored(("1", 0.4), ("1", 0.4), ("2", 0.7))
    for selector, answer in (("weighted_majority", "1"), ("best_score", "2")):
        outcome = ScriptedCluster(script).run(f"genrm:n=3,verifier=judge,selector={selector}")
        assert outcome.result.answer == answer


def test_genrm_leaves_abstentions_out_of_the_mean_rather_than_counting_them_as_zero():
    script = [Sample("1", scores={"judge": (0.8, None)}), Sample("2", scores={"judge": (0.6, 0.6)})]
    outcome = ScriptedCluster(script).run("genrm:n=2,verifications=2,verifier=judge,selector=best_score")
    assert outcome.result.answer == "1"


def test_genrm_takes_a_probability_of_exactly_zero_for_a_verdict():
    script = [Sample("1", scores={"judge": (0.0, 0.5)}), Sample("2", scores={"judge": (0.3, 0.3)})]
    outcome = ScriptedCluster(script).run("genrm:n=2,verifications=2,verifier=judge,selector=best_score")
    assert outcome.result.answer == "2"  # the mean of the first is 0.25, not 0.5


def test_a_verification_that_fails_is_an_abstention_and_is_lived_with():
    script = [Sample("1"), Sample("2")]

    def world(request, number):
        return script[number] if number < 2 else BROKEN

    outcome = ScriptedCluster(world, verifiers={"genrm": GenRM()}).run("genrm:n=2,verifications=1")
    assert outcome.result.answer == "1"
    assert len(outcome.result.failures) == 2


def test_open_genrm_leaves_no_solution_without_its_verifications():
    script = [Sample("1", scores={"judge": 0.5})] * 9
    cluster = ScriptedCluster(script, verification_tokens=5, budget=Limits(samples=9))
    outcome = cluster.run("genrm:n=none,verifications=2,verifier=judge")
    assert (len(outcome.generated), len(outcome.verified)) == (3, 6)


# --- sequential revision

ATTEMPT = re.compile(r"Attempt \d+:\n(.*)")


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


# --- budgets


@pytest.mark.parametrize("spec", ["best_of_n:n=none", "majority_vote:n=none", "majority_vote:n=none,stop_at=1.0"])
def test_an_open_count_spends_its_whole_share(spec):
    whole = ScriptedCluster(lambda request, number: str(number), budget=Limits(samples=11)).run(spec)
    assert whole.result.bill.total.samples == 11
    assert whole.result.exhausted
    # 64 tokens are held for a sample that then takes 10: it goes on until not even the worst case fits.
    tokens = ScriptedCluster(
        lambda request, number: str(number), budget=Limits(tokens=1000), sampling=Sampling(max_tokens=64)
    ).run(spec)
    assert 1000 - 64 < tokens.result.bill.total.tokens <= 1000


def test_an_open_count_without_a_budget_is_refused():
    result = ScriptedCluster(["1"]).run("majority_vote:n=none").result
    assert result.error.type == "InvalidParameter"
    assert "set n or a budget" in result.error.message


@pytest.mark.parametrize("spec", ["best_of_n:n=6", "majority_vote:n=6", "majority_vote:n=6,stop_at=0.95", "genrm:n=6"])
def test_a_budget_too_small_for_the_count_returns_the_best_of_what_was_paid_for(spec):
    result = ScriptedCluster(lambda request, number: str(number % 2), budget=Limits(samples=3)).run(spec).result
    assert result.exhausted
    assert (result.answer, len(result.candidates)) == ("0", 3)


def test_samples_are_shared_between_strategies_only_where_nothing_stops_early():
    def shares(spec: str) -> list[str | None]:
        cluster = ScriptedCluster(lambda request, number: str(number))
        return [a.share for a in cluster.run(spec).generated if isinstance(a, Generate)]

    assert shares("majority_vote:n=3") == shares("best_of_n:n=3,selector=majority")
    assert shares("majority_vote:n=3")[:1] == shares("single")
    assert shares("first_finish:n=2,k=2") == [None, None]


def test_a_strategy_never_sees_more_of_the_problem_than_it_may():
    problem = Problem("p", "What is 2 + 2?", system="Be brief.")
    outcome = ScriptedCluster(["4", "4"]).run("sequential_revision:chains=1,rounds=2", problem)
    assert [message.role for message in outcome.generated[1].request.messages] == ["system", "user"]
    assert outcome.generated[1].request.messages[0].content == "Be brief."


def test_the_noisy_world_is_what_the_contract_says_it_is():
    """Or the contract would pass strategies for want of trouble."""
    outcome = ScriptedCluster(lambda request, number: "1").run("majority_vote:n=400")
    world = NoisyWorld("trouble", failures=0.25)
    ends = [world.complete(action.request)[1] for action in outcome.generated]
    completions = [end for end in ends if isinstance(end, Completion)]
    assert 60 < len(ends) - len(completions) < 140
    assert {c.finish_reason for c in completions} == {"stop", "length"}
    said = {c.text for c in completions}
    assert len(said) == 7  # five answers, none at all, and cut short


# --- a budget that ends is not another method


SPELT = ["8", "8", r"\sqrt{2}/2", r"1/\sqrt{2}", r"\frac{1}{\sqrt{2}}"]


@pytest.mark.parametrize("n", ["5", "40", "none"])
def test_a_vote_by_algebra_stays_one_by_algebra_when_the_budget_ends(n):
    result = (
        ScriptedCluster(SPELT + ["9"] * 40, budget=Limits(samples=5))
        .run(f"majority_vote:n={n},equivalence=math")
        .result
    )
    assert (result.answer, result.exhausted) == (r"\sqrt{2}/2", n != "5")


@pytest.mark.parametrize("n", ["4", "30", "none"])
def test_candidates_are_verified_also_when_the_budget_ends(n):
    script = scored(("1", 0.1), ("2", 0.3), ("3", 0.9), ("1", 0.2)) + scored(("4", 1.0)) * 30
    result = ScriptedCluster(script, budget=Limits(samples=4)).run(f"best_of_n:n={n},verifier=judge").result
    assert (result.answer, len(result.scores)) == ("3", 4)


@pytest.mark.parametrize("n", ["6", "30", "none"])
@pytest.mark.parametrize(
    "spec", ["majority_vote:n={}", "majority_vote:n={},stop_at=0.9999,batch=4", "esc:n={},window=4"]
)
def test_everything_that_was_paid_for_votes_also_when_the_budget_ends_inside_a_batch(spec, n):
    script = ["1", "2", "1", "3", "2", "2"] + ["9"] * 30
    result = ScriptedCluster(script, budget=Limits(samples=6)).run(spec.format(n)).result
    assert (result.answer, len(result.candidates), result.exhausted) == ("2", 6, n != "6")


def test_where_the_budget_leaves_nothing_for_verification_the_scores_abstain_and_the_vote_is_still_by_algebra():
    script = [Sample(answer, scores={"judge": 0.5}) for answer in SPELT]
    cluster = ScriptedCluster(script, verification_tokens=5, budget=Limits(samples=5))
    result = cluster.run("best_of_n:n=5,verifier=judge,equivalence=math").result
    assert (result.answer, result.scores, result.exhausted) == (r"\sqrt{2}/2", {}, True)


def test_when_the_time_is_up_what_has_come_is_verified_and_voted_on_by_the_same_rule():
    script = [Sample(a, seconds=s, scores={"judge": v}) for a, s, v in (("1", 1, 0.2), ("2", 2, 0.9), ("3", 9, 1.0))]
    result = ScriptedCluster(script, budget=Limits(seconds=3)).run("best_of_n:n=3,verifier=judge").result
    assert (result.answer, len(result.candidates), result.exhausted) == ("2", 2, True)
    assert result.bill.cancelled.samples == 1


async def of_the_longest(problem, run, *, n: int = 9, k: int = 2):
    """Vote among the `k` longest."""
    candidates = sorted(await run.generate(n=n), key=lambda candidate: -candidate.tokens)
    return majority(candidates[:k], run.scores)


@pytest.mark.parametrize("n", [4, 30])
def test_a_strategy_of_ones_own_keeps_its_rule_when_the_budget_ends(n):
    script = [Sample("1", tokens=3), Sample("1", tokens=4), Sample("2", tokens=9), Sample("2", tokens=8)]
    result = ScriptedCluster(script, budget=Limits(samples=4)).run(of_the_longest, n=n).result
    assert (result.answer, result.exhausted) == ("2", n > 4)


def test_a_budget_that_turns_down_thousands_of_asks_at_once_still_ends_in_an_answer():
    script = [Sample("1"), Sample("2"), Sample("2")] + [Sample("3")] * 5000
    assert ScriptedCluster(script, budget=Limits(samples=3)).run("majority_vote:n=2500").result.answer == "2"


def test_verifications_that_the_budget_cannot_hold_are_counted_as_abstentions():
    script = [Sample(answer, scores={"judge": 0.5}) for answer in ("1", "2", "2", "3")]
    cluster = ScriptedCluster(script, verification_tokens=5, budget=Limits(samples=5))
    result = cluster.run("best_of_n:n=4,verifier=judge").result
    assert (result.unverified, len(result.scores)) == (3, 1)
    decided = decided_of(result, 0.0, result.bill.total)
    assert (decided.verifications, decided.abstained) == (4, 3)
    assert result.shortage == Shortage("verification", "samples", 1, 0, 5)


async def the_second_to_end(problem, run, *, n: int = 8):
    async with run.finishing(n=n) as race:
        await anext(race)
        return await anext(race)


async def until_it_is_scored(problem, run, *, verifier: str = "judge"):
    (candidate,) = await run.generate()
    while (await run.verify([candidate], verifier))[0].value is None:
        pass
    return candidate


@pytest.mark.parametrize("strategy", [the_second_to_end, until_it_is_scored])
def test_a_strategy_that_counts_on_more_than_the_budget_holds_still_has_the_answer_that_was_paid_for(strategy):
    cluster = ScriptedCluster([Sample("1", scores={"judge": 1.0})], verification_tokens=5, budget=Limits(samples=1))
    result = cluster.run(strategy).result
    assert (result.answer, result.error, result.exhausted) == ("1", None, True)


def test_a_race_of_fewer_than_were_asked_for_is_marked():
    script = [Sample(answer, seconds=s) for answer, s in (("1", 3), ("2", 2), ("3", 1))] + ["4"] * 9
    result = ScriptedCluster(script, budget=Limits(samples=2)).run("first_finish:n=8").result
    assert (result.answer, result.exhausted) == ("2", True)
    assert not ScriptedCluster(script).run("first_finish:n=3").result.exhausted


def test_an_open_count_waits_for_what_its_siblings_hold_in_reserve():
    async def beside(problem, run):
        judged, found = await run.gather(run.generate("long", max_tokens=250), run.generate(n=None, max_tokens=100))
        return found[0] if judged else None

    def script(request, number):
        return Sample("1", tokens=10, seconds=99.0 if request.messages[-1].content == "long" else 1.0)

    result = ScriptedCluster(script, budget=Limits(tokens=450)).run(beside).result
    assert result.exhausted and result.shortage.left < 100


@pytest.mark.parametrize("budget", [Limits(samples=8), Limits(samples=9), Limits(tokens=2000)])
@pytest.mark.parametrize("spec", ["best_of_n:n=none,verifier=judge", "genrm:n=none,verifications=1,verifier=judge"])
def test_an_open_count_buys_no_more_candidates_than_it_can_verify(spec, budget):
    cluster = ScriptedCluster(
        lambda request, number: Sample(str(number), tokens=100, scores={"judge": number / 100}),
        verification_tokens=50,
        budget=budget,
    )
    result = cluster.run(spec, selector="best_score").result
    scored = [candidate for candidate in result.candidates if candidate.id in result.scores]
    assert len(scored) >= 4 and len(result.candidates) - len(scored) <= 1
    assert result.selected == scored[-1]
