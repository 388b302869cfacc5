"""Published rules: each applies where it should, and names a strategy that exists."""

import re

import pytest

from tts.errors import InvalidParameter
from tts.planning.rules import Situation, by_rule, rules
from tts.plugins.spec import parse_specs


@pytest.mark.parametrize(
    ("options", "situation", "budget", "strategy"),
    [
        ({}, {}, 50_000, "majority_vote:n=64,stop_at=0.95"),  # nobody knows how long a sample is
        ({}, {"sample_tokens": 1000.0}, 2_900, "single"),
        ({}, {"sample_tokens": 1000.0}, 3_100, "majority_vote:n=3,stop_at=0.95"),
        ({}, {"sample_tokens": 1000.0}, 1e6, "majority_vote:n=64,stop_at=0.95"),
        ({"fast": True}, {"sample_tokens": 1000.0}, 8_000, "majority_vote:n=8,stop_at=0.95"),  # w is not known
        ({"fast": True}, {"sample_tokens": 1000.0, "shorter_wins": 0.55}, 8_000, "majority_vote:n=8,stop_at=0.95"),
        ({"fast": True}, {"sample_tokens": 1000.0, "shorter_wins": 0.8}, 8_000, "first_finish:n=8,k=3"),
        ({"fast": True}, {"sample_tokens": 1000.0, "shorter_wins": 0.8}, 2_000, "first_finish:n=2,k=1"),
        ({}, {"sample_tokens": 1000.0, "shorter_wins": 0.8}, 8_000, "majority_vote:n=8,stop_at=0.95"),
        (
            {"fast": True},
            {"sample_tokens": 1000.0, "shorter_wins": 0.8, "at_least": 0.49},
            8_000,
            "majority_vote:n=8,stop_at=0.95",
        ),
        (
            {"fast": True},
            {"sample_tokens": 1000.0, "shorter_wins": 0.58, "at_least": 0.51},
            8_000,
            "first_finish:n=8,k=3",
        ),
        ({"judge": "genrm"}, {"sample_tokens": 1000.0}, 127_000, "majority_vote:n=64,stop_at=0.95"),
        ({"judge": "genrm"}, {"sample_tokens": 1000.0}, 128_000, "genrm:n=16,verifications=7,verifier=genrm"),
        ({"judge": "genrm"}, {}, 1e9, "majority_vote:n=64,stop_at=0.95"),
        ({"exact_verifier": "constraint"}, {"sample_tokens": 1000.0}, 8_000, "best_of_n:n=8,verifier=constraint"),
    ],
)
def test_every_rule_applies_where_it_should_and_names_a_strategy_that_exists(options, situation, budget, strategy):
    choice = by_rule(Situation(**situation), budget, rules(**options))
    assert choice.strategy == strategy
    assert choice.rule in {rule.name for rule in rules()}
    assert parse_specs(choice.strategy)


@pytest.mark.parametrize(
    ("situation", "pays", "said"),
    [
        (Situation(), False, "was not measured"),
        (Situation(1.0, 0.21, 0.1), False, "a race does not pay: .* in 21% of pairs only"),
        (Situation(1.0, 0.5), False, "does not pay"),
        (Situation(1.0, 0.58, 0.49), False, "no evidence that a race pays: .* in 58% of pairs"),
        (Situation(1.0, 0.55), False, "no evidence"),
        (Situation(1.0, 0.73, 0.6), True, "a race, for few seconds, pays: .* in 73% of pairs"),
    ],
)
def test_a_race_is_advised_only_where_the_shorter_sample_is_clearly_the_right_one_more_often(situation, pays, said):
    assert situation.races_pay == pays and re.search(said, situation.on_races)
    assert (by_rule(situation, 1e6, rules(fast=True)).rule == "race") == pays


def test_a_reason_says_how_many_samples_there_is_room_for():
    assert "about 3.1 samples" in by_rule(Situation(1000.0), 3100, rules()).why
    assert "an unknown number of samples" in by_rule(Situation(), 3100, rules()).why


@pytest.mark.parametrize(("budget", "sample"), [(0, None), (-1, 10.0), (float("nan"), None), (100, 0), (100, -1)])
def test_a_budget_or_a_sample_of_no_tokens_is_refused(budget, sample):
    with pytest.raises(InvalidParameter, match="above 0 tokens"):
        by_rule(Situation(sample), budget, rules())
