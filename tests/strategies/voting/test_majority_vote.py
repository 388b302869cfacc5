"""The vote, of a fixed number of samples or of as many as settle it."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import ANSWERS_THAT_ARRIVE, BROKEN, answers, arriving, first_seen_majority

from tts.core.budget import Limits
from tts.core.trials.blocks import OPEN_FAILURES
from tts.selectors import lead_probability
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.testing.cluster import Outcome


class TestMajorityVote(StrategyContract):
    strategy = "majority_vote:n=5"
    order_free = True


class TestAdaptiveConsistency(StrategyContract):
    strategy = "majority_vote:n=8,stop_at=0.95"
    order_free = True


class TestAdaptiveConsistencyOnArrivals(StrategyContract):
    strategy = "majority_vote:n=8,stop_at=0.95,min_in_flight=5"


class TestOpenAdaptiveConsistency(StrategyContract):
    strategy = "majority_vote:n=none,stop_at=0.95"
    budget = Limits(samples=7)


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
    outcome = ScriptedCluster(arriving(pairs)).run("majority_vote:n=12,stop_at=0.95,min_in_flight=12")
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
    result = cluster.run(f"majority_vote:n={n},stop_at=0.95,min_in_flight=3").result
    assert result.selected == result.candidates[0]
    assert result.selected.order == (2,)


@pytest.mark.parametrize("stop_at", ["95", "0", "-0.5", "1.01"])
def test_a_stopping_probability_that_is_none_is_refused_before_anything_is_paid_for(stop_at):
    outcome = ScriptedCluster(["1"] * 20).run(f"majority_vote:stop_at={stop_at}")
    assert "stop_at must be a probability above 0 and at most 1" in outcome.result.error.message
    assert not outcome.generated


@pytest.mark.parametrize("rule", ["majority_vote:n=8,stop_at=0.95", "esc:n=8,window=3"])
def test_the_earlier_name_of_a_parameter_is_read_with_a_warning(rule):
    found = [ScriptedCluster(["1", "2"] * 9).run(f"{rule},min_in_flight=4")]
    with pytest.warns(FutureWarning, match="the parameter ahead is called min_in_flight now: write min_in_flight=4"):
        found.append(ScriptedCluster(["1", "2"] * 9).run(f"{rule},ahead=4"))
    assert len({(len(one.generated), one.result.answer, one.result.bill) for one in found}) == 1
