"""Choosing a strategy by difficulty: the bins, the cross-validation, the policy, and the strategy that follows one."""

import math
import random
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.core.actions import Generate, Verify
from tts.core.budget import Limits
from tts.errors import BudgetTooSmall, InvalidParameter, ServerFailed
from tts.plugins.spec import parse_specs
from tts.testing import Sample, ScriptedCluster
from tts.toolkit.difficulty import Measured, Policy, agreement, mean_score, study_policy

BROKEN = ServerFailed("the server is on fire")


def rows(count: int = 200, seed: int = 0, pilot: float = 4.0) -> list[Measured]:
    """`deep` is right on hard problems, `wide` on easy ones, `cheap` nowhere so often."""
    draw = random.Random(seed)
    found = []
    for i in range(count):
        ease = draw.random()
        accuracy = {"deep": float(ease < 0.5), "wide": float(ease >= 0.5), "cheap": 0.25}
        found.append(Measured(f"p{i}", ease, accuracy, {"deep": 16.0, "wide": 16.0, "cheap": 2.0}, pilot))
    return found


# --- difficulty


def test_agreement_is_the_leading_answer_s_share_and_silence_agrees_with_nobody():
    assert agreement(["4", "4", "5", None]) == 0.5
    assert agreement([None, None]) == 0.0
    with pytest.raises(InvalidParameter, match="at least 1 pilot sample"):
        agreement([])


def test_a_mean_score_leaves_abstentions_out_and_knows_when_it_knows_nothing():
    assert mean_score([1.0, None, 0.0]) == 0.5
    assert mean_score([None]) is None


# --- policies


@given(st.lists(st.floats(-5, 5), max_size=5, unique=True), st.floats(-6, 6))
def test_a_policy_survives_text_and_json_and_a_bin_holds_its_upper_edge(edges, ease):
    policy = Policy(tuple(sorted(edges)), tuple(f"a/{i}" for i in range(len(edges) + 1)))
    assert Policy.parse(str(policy)) == policy
    assert msgspec.json.decode(msgspec.json.encode(policy), type=Policy) == policy
    assert policy.bin_of(ease) == sum(ease > edge for edge in edges)
    for number, edge in enumerate(policy.edges):
        assert policy.choice(edge) == f"a/{number}"


def test_a_problem_of_which_nothing_is_known_is_one_of_the_hardest():
    assert Policy((0.5,), ("hard", "easy")).choice(None) == "hard"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5:a", "a strategy without an edge, but got '0.5:a'"),
        ("0.5:a;", "a strategy without an edge, but got ''"),
        ("a;b", "expected EDGE:STRATEGY"),
        ("half:a;b", "expected EDGE:STRATEGY, such as 0.4:A, but got 'half:a'"),
        ("0.5:;b", "expected EDGE:STRATEGY"),
        ("0.8:a;0.4:b;c", "must rise"),
        ("0.4:a;0.4:b;c", "must rise"),
        ("nan:a;c", "must rise, and be finite"),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused_with_what_is_wrong(text, message):
    with pytest.raises(InvalidParameter, match=message):
        Policy.parse(text)


def test_a_policy_needs_one_strategy_more_than_edges():
    with pytest.raises(InvalidParameter, match="1 edges needs 2 strategies, but got 1"):
        Policy((0.5,), ("a",))


# --- choosing


def test_each_bin_gets_its_strategy_and_that_beats_the_best_single_one():
    found = study_policy(rows(), 20, bins=4)
    assert found.policy.strategies == ("deep", "deep", "wide", "wide")
    assert found.accuracy > found.single_accuracy + 0.3
    assert sum(one.problems for one in found.bins) == 200
    assert {one.problems for one in found.bins} == {50}


def test_the_pilot_is_charged_in_full_or_as_part_of_what_goes_on_from_it():
    assert study_policy(rows(), 20, bins=4).cost == pytest.approx(20)
    assert study_policy(rows(), 16, bins=4, reused=True).cost == pytest.approx(16)
    assert study_policy(rows(pilot=4.0), 5, bins=2, reused=True).cost == pytest.approx(
        4
    )  # `cheap` costs 2: less than its pilot
    assert study_policy(rows(), 20, bins=4).single_cost == pytest.approx(16)


def test_a_strategy_that_fits_only_without_the_pilot_is_not_chosen():
    found = study_policy(rows(), 19, bins=4)
    assert set(found.policy.strategies) == {"cheap"}
    assert set(found.single) <= {"deep", "wide"}


def test_what_is_chosen_on_a_fold_is_judged_on_the_other():
    """Strategies of luck alone: each is right on a random half. Whoever judges where it chose finds them above 1/2."""
    draw = random.Random(5)
    names = [f"s{i}" for i in range(40)]
    lucky = [
        Measured(f"p{i}", draw.random(), {n: float(draw.random() < 0.5) for n in names}, dict.fromkeys(names, 1.0), 0.0)
        for i in range(400)
    ]
    found = study_policy(lucky, 1, bins=5)
    chosen_where_judged = [
        max(sum(r.accuracy[n] for r in lucky if found.policy.bin_of(r.ease) == b) for n in names) for b in range(5)
    ]
    assert sum(chosen_where_judged) / 400 > 0.58
    assert abs(found.accuracy - 0.5) < 0.06
    for row in lucky:
        chosen = found.bins[found.policy.bin_of(row.ease)].chosen[1 - found.folds[row.problem]]
        assert found.by_problem[row.problem] == row.accuracy[chosen]
        single = found.single[1 - found.folds[row.problem]]
        assert found.single_by_problem[row.problem] == row.accuracy[single]
    assert found.single[0] != found.single[1]


def test_the_folds_halve_every_bin_and_depend_on_ids_and_seed_alone():
    ordered = rows()
    found = study_policy(ordered, 20, bins=5)
    for number in range(5):
        ids = [row.problem for row in ordered if found.policy.bin_of(row.ease) == number]
        assert sum(found.folds[id] for id in ids) == len(ids) // 2
    assert study_policy(ordered[::-1], 20, bins=5) == found
    assert study_policy(ordered, 20, bins=5, seed=1).folds != found.folds


def test_the_policy_of_a_fold_is_what_was_chosen_on_it():
    found = study_policy(rows(), 20, bins=4)
    assert [found.fold_policy(fold).strategies for fold in (0, 1)] == list(
        zip(*(b.chosen for b in found.bins), strict=True)
    )


def test_equals_go_to_the_cheapest_and_ties_of_ease_make_fewer_bins():
    level = [Measured(f"p{i}", i % 2, {"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 1.0}, 0.0) for i in range(20)]
    found = study_policy(level, 5, bins=5)
    assert found.policy == Policy((0.0,), ("b", "b"))


def test_problems_without_a_signal_fall_among_the_hardest():
    some = [msgspec.structs.replace(row, ease=None) if row.ease < 0.1 else row for row in rows()]
    assert study_policy(some, 20, bins=2).policy.strategies == ("deep", "wide")


def test_what_cannot_be_studied_is_refused_with_the_numbers():
    with pytest.raises(BudgetTooSmall, match="a budget of 5 a problem holds no strategy: the cheapest, cheap, costs 6"):
        study_policy(rows(), 5)
    with pytest.raises(InvalidParameter, match="holds 1 problem"):
        study_policy(rows(4), 20, bins=3)
    with pytest.raises(InvalidParameter, match="nothing to choose from"):
        study_policy([], 5)
    with pytest.raises(InvalidParameter, match="bins must be at least 1"):
        study_policy(rows(), 5, bins=0)
    with pytest.raises(InvalidParameter, match="budget must be above 0"):
        study_policy(rows(), math.nan)
    with pytest.raises(InvalidParameter, match="p0 has several rows"):
        study_policy(rows(4) + rows(1), 20)
    one = rows(1)[0]
    with pytest.raises(InvalidParameter, match=r"p9: its accuracy .* they differ in cheap, deep, wide, x"):
        study_policy([one, msgspec.structs.replace(one, problem="p9", accuracy={"x": 1.0})], 20)
    with pytest.raises(InvalidParameter, match="p0 has a value that is not finite"):
        study_policy([msgspec.structs.replace(one, ease=math.nan)], 20)


# --- the strategy


def live(script, policy: str, rest: str = "", **given):
    return ScriptedCluster(script, **given).run(f"compute_optimal:policy={policy},pilot=4{rest}")


def test_the_pilot_decides_and_votes_with_what_follows():
    split, sure = ["1", "2", "3", "4", "2"], ["7"] * 4
    hard = live(split, "0.5:majority_vote/5;majority_vote/4")
    assert (hard.result.answer, len(hard.generated)) == ("2", 5)  # "2" leads only together with one of the pilot's
    easy = live(sure, "0.5:majority_vote/16;majority_vote/3")
    assert (easy.result.answer, len(easy.generated)) == ("7", 4)  # an arm smaller than its pilot costs the pilot


def test_best_of_n_scores_the_pilot_too_and_nobody_twice():
    script = [Sample(str(i), scores={"judge": score}) for i, score in enumerate((0.1, 0.9, 0.2, 0.3, 0.4, 0.5))]
    for rest in ("", ",difficulty=score"):
        outcome = live(script, "best_of_n/6", f",verifier=judge,selector=best_score{rest}")
        assert outcome.result.answer == "1"
        assert sorted(action.candidate.answer for action in outcome.verified) == list("012345")


def test_an_arm_that_votes_asks_no_verifier_and_follows_none():
    script = [Sample(a, scores={"judge": score}) for a, score in zip("12233", (0.9, 0.1, 0.1, 0.9, 0.9), strict=True)]
    outcome = live(script, "majority_vote/5", ",verifier=judge")
    assert (outcome.result.answer, outcome.verified) == ("2", [])


def test_difficulty_by_score_reads_the_verifier_s_mean():
    def script(score):
        return [Sample("5", scores={"judge": score})] * 6

    for score, asked in ((0.2, 6), (0.8, 4), (None, 6)):
        policy = "0.5:majority_vote/6;majority_vote/4"
        assert len(live(script(score), policy, ",difficulty=score,verifier=judge").generated) == asked


@pytest.mark.parametrize(("arm", "total"), [("1x6", 6), ("2x4", 8), ("3x2", 6), ("5x2", 10), ("2x1", 4), ("6x1", 6)])
def test_revisions_go_on_from_the_pilot_s_attempts_up_to_the_arm_s_number(arm, total):
    outcome = live(lambda request, number: str(number), f"sequential_revision/{arm}")
    assert len(outcome.generated) == total
    assert not outcome.verified
    chains = int(arm.split("x")[0])
    first = [action for action in outcome.generated[4:] if "Attempt" not in action.request.messages[-1].content]
    assert len(first) == (max(0, chains - 4))
    if arm == "2x4":  # the pilot's answers are 0 to 3, dealt in turn
        shown = outcome.generated[4].request.messages[-1].content
        assert "Answer: 0" in shown and "Answer: 2" in shown and "Answer: 1" not in shown


def test_revisions_are_scored_where_there_is_a_verifier():
    script = [Sample(str(i), scores={"judge": float(i == 2)}) for i in range(6)]
    outcome = live(script, "sequential_revision/2x3", ",verifier=judge")
    assert (outcome.result.answer, len(outcome.verified)) == ("2", 6)


def test_failures_after_the_pilot_leave_the_pilot_s_vote():
    outcome = live(["5", "5", "6", "6", BROKEN, BROKEN], "majority_vote/6")
    assert (outcome.result.answer, outcome.result.error) == ("5", None)
    assert live([BROKEN] * 4, "majority_vote/6").result.error.type == "AllFailed"


def test_a_budget_that_ends_after_the_pilot_leaves_its_vote_marked_as_exhausted():
    result = live(["5", "6", "6", "5", "6"], "majority_vote/9", budget=Limits(samples=5)).result
    assert (result.answer, result.exhausted) == ("6", True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("policy=genrm/4", "an arm is majority_vote/N.*but got 'genrm/4'"),
        ("policy=majority_vote/0", "all at least 1, but got 'majority_vote/0'"),
        ("policy=sequential_revision/4", "CHAINSxROUNDS"),
        ("policy=best_of_n/4", "best_of_n/4 needs a verifier"),
        ("policy=0.5:majority_vote/4", "without an edge"),
        ("difficulty=score", "give verifier=NAME"),
        ("selector=mode", "unknown selector"),
        ("pilot=0", "at least 1, but got 0"),
    ],
)
def test_what_it_cannot_follow_is_refused_before_anything_is_asked_for(settings, message):
    outcome = ScriptedCluster(["1"] * 20).run(f"compute_optimal:{settings}")
    assert outcome.result.error.type in ("InvalidParameter", "UnknownName")
    assert re.search(message, outcome.result.error.message)
    assert not [action for action in outcome.actions if isinstance(action, Generate | Verify)]


def test_a_difficulty_that_nobody_knows_is_refused_with_the_text_of_the_strategy():
    with pytest.raises(InvalidParameter, match=r"agreement \| score, but got 'luck'"):
        ScriptedCluster([]).run("compute_optimal:difficulty=luck")


def test_a_policy_survives_the_command_line_s_commas_and_colons():
    (spec,) = parse_specs(
        "compute_optimal:pilot=8,policy=0.4:sequential_revision/2x8;0.75:majority_vote/16;majority_vote/8"
    )
    assert spec.params == {"pilot": 8, "policy": "0.4:sequential_revision/2x8;0.75:majority_vote/16;majority_vote/8"}
    assert len(parse_specs("compute_optimal:policy=majority_vote/4,0.5:majority_vote/8;majority_vote/4")) == 2
