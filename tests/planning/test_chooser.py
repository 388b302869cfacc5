"""The chooser: its regression against plain algebra, its choices against planted patterns, its rules one by one."""

from dataclasses import replace
from itertools import product

import msgspec
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tts.errors import InvalidParameter
from tts.planning import chooser as module
from tts.planning.chooser import PENALTIES, Chooser, Past, Ridge, Scale, Situation, by_rule, describe, design, rules
from tts.plugins.spec import parse_specs

VOTE, RACE, SINGLE = "majority_vote:n=8", "first_finish:n=8", "single"
TOKENS = {VOTE: 8000.0, RACE: 4000.0, SINGLE: 1000.0}


def history(models=12, problems=6, *, task="maths", noise=0.02, seed=0):
    """Where short samples are right (w high), races beat votes; otherwise they lose to them. Votes are the better ones
    on average."""
    draw = np.random.default_rng(seed)
    rows = []
    for m in range(models):
        w = 0.2 + 0.7 * m / (models - 1)
        accuracy = {VOTE: 0.6, RACE: 0.6 + 0.3 * (w - 0.65), SINGLE: 0.45}
        for p, name in product(range(problems), accuracy):
            situation = Situation(f"m{m}", task, f"problem {p}", parameters=1e9 * (1 + m % 3), shorter_wins=w)
            rows.append(Past(situation, name, 10_000, accuracy[name] + noise * draw.normal(), TOKENS[name]))
    return rows


def new(w, **more):
    return Situation("new", "maths", "a problem", parameters=2e9, shorter_wins=w, **more)


def test_it_learns_on_which_models_a_race_pays_and_applies_it_to_one_it_has_never_seen():
    fitted = Chooser.fit(history())
    assert fitted.choose(new(0.9), 10_000).strategy == RACE
    assert fitted.choose(new(0.25), 10_000).strategy == VOTE


def test_a_choice_states_what_it_predicts_and_how_far_off_that_is():
    fitted = Chooser.fit(history())
    choice = fitted.choose(new(0.9), 10_000)
    assert not choice.cold
    assert choice.accuracy == pytest.approx(0.6 + 0.3 * 0.25, abs=0.04)
    assert choice.tokens == pytest.approx(4000, rel=0.25)
    assert 0 < choice.error < 0.1
    assert f"points ahead of {VOTE}, which did best on 'maths' so far" in choice.why
    assert "'new' itself has never been seen, only 12 others" in choice.why
    assert "never" not in fitted.choose(msgspec.structs.replace(new(0.9), model="m3"), 10_000).why


def test_what_is_predicted_not_to_fit_the_budget_is_not_chosen():
    fitted = Chooser.fit(history())
    assert fitted.choose(new(0.25), 10_000).strategy == VOTE
    assert fitted.choose(new(0.25), 6_500).strategy == RACE
    assert fitted.choose(new(0.25), 2_000).strategy == SINGLE
    nothing = fitted.choose(new(0.25, sample_tokens=1000.0), 100)
    assert nothing.cold
    assert "all strategies of the history are predicted to need" in nothing.why


def test_noise_does_not_dethrone_the_best_strategy_of_the_record():
    """All strategies are equally good at everything but one that is always a little better."""
    draw = np.random.default_rng(5)
    rows = [
        Past(
            Situation(f"m{m}", "maths", f"problem {p}", parameters=1e9 * (1 + m), shorter_wins=0.3 + 0.05 * m),
            name,
            10_000,
            float(np.clip(0.5 + 0.05 * (name == VOTE) + 0.15 * draw.normal(), 0, 1)),
            TOKENS[name],
        )
        for m, p, name in product(range(10), range(6), TOKENS)
    ]
    fitted = Chooser.fit(rows)
    situations = [msgspec.structs.replace(new(w), parameters=10.0**e) for w in (0.1, 0.5, 0.9) for e in (8, 9, 11)]
    assert {fitted.choose(situation, 10_000).strategy for situation in situations} == {VOTE}
    bold = replace(fitted, margin=0.0)
    assert {bold.choose(situation, 10_000).strategy for situation in situations} != {VOTE}


def test_the_record_is_that_of_the_task_at_the_nearest_budget():
    situation = Situation("m", "maths", "x")
    rows = [
        Past(Situation(f"m{m}", task, "x"), name, budget, accuracy, TOKENS[name])
        for m in range(4)
        for task, budget, name, accuracy in [
            ("maths", 10_000, VOTE, 0.5), ("maths", 10_000, RACE, 0.7),
            ("maths", 90_000, VOTE, 0.9), ("maths", 90_000, RACE, 0.7),
            ("law", 10_000, VOTE, 0.9), ("law", 10_000, RACE, 0.1),
        ]
        for _ in range(2)
    ]  # fmt: skip
    kept = replace(Chooser.fit(rows), margin=1.0)  # so wide that only the record counts
    assert kept.choose(situation, 12_000).strategy == RACE
    assert kept.choose(situation, 60_000).strategy == VOTE
    assert kept.choose(msgspec.structs.replace(situation, task="law"), 12_000).strategy == VOTE


# --- cold starts


@pytest.mark.parametrize(
    ("rows", "situation", "because"),
    [
        ([], new(None), "the history has 0 rows"),
        (history()[:29], new(None), "the history has 29 rows, and fewer than 30"),
        (history(), Situation("m1", "law"), "has never seen the task 'law'"),
        (history(models=2, problems=2) * 3, new(None), "fewer than 3 models, and fewer than 3 prompts"),
    ],
)
def test_too_little_history_is_said_and_the_rules_choose(rows, situation, because):
    choice = Chooser.fit(rows).choose(situation, 10_000)
    assert choice.cold
    assert because in choice.why
    assert (choice.accuracy, choice.error, choice.tokens) == (None, None, None)


def test_one_model_with_many_prompts_is_history_enough():
    assert not Chooser.fit(history(models=2, problems=12)).choose(new(0.9), 10_000).cold


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
        ({"judge": "genrm"}, {"sample_tokens": 1000.0}, 127_000, "majority_vote:n=64,stop_at=0.95"),
        ({"judge": "genrm"}, {"sample_tokens": 1000.0}, 128_000, "genrm:n=16,verifications=7,verifier=genrm"),
        ({"judge": "genrm"}, {}, 1e9, "majority_vote:n=64,stop_at=0.95"),
        ({"exact_verifier": "constraint"}, {"sample_tokens": 1000.0}, 8_000, "best_of_n:n=8,verifier=constraint"),
    ],
)
def test_every_rule_applies_where_it_should_and_names_a_strategy_that_exists(options, situation, budget, strategy):
    choice = by_rule(Situation("m", "t", **situation), budget, "nothing is known", rules(**options))
    assert choice.strategy == strategy
    assert choice.why.startswith("nothing is known; by the rule ")
    assert parse_specs(choice.strategy)


# --- the regression


def numbers(rows=40, columns=6, seed=1):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, columns))
    return x, x @ draw.normal(size=columns) + 3 + draw.normal(size=rows), np.arange(rows) % 4


def by_algebra(x, y, penalty):
    """Ridge as least squares with a row of sqrt(penalty) for every weight."""
    augmented = np.vstack([x, np.sqrt(penalty) * np.eye(x.shape[1])])
    return np.linalg.lstsq(augmented, np.concatenate([y - y.mean(), np.zeros(x.shape[1])]), rcond=None)[0]


def test_the_ridge_is_that_of_least_squares_and_its_penalty_that_of_the_groups_left_out():
    x, y, groups = numbers()
    losses = []
    for penalty in PENALTIES:
        off = np.empty_like(y)
        for g in range(4):
            fit, out = groups != g, groups == g
            off[out] = y[fit].mean() + x[out] @ by_algebra(x[fit], y[fit], penalty) - y[out]
        losses.append((np.mean([(off[groups == g] ** 2).mean() for g in range(4)]), penalty, off + y))
    _, penalty, predicted = min(losses, key=lambda loss: loss[0])
    found, left_out = Ridge.fit(x, y, groups)
    assert found.penalty == penalty
    assert left_out == pytest.approx(predicted)
    assert found.weights == pytest.approx(by_algebra(x, y, penalty))
    assert found.values(x[:2]) == pytest.approx(y.mean() + x[:2] @ found.weights)


def test_where_groups_disagree_the_penalty_is_heavier():
    """A slope that is another one in every group says nothing about the next group."""
    x, _, groups = numbers()
    agreed = Ridge.fit(x, x[:, 0] * 1.0, groups)[0]
    disputed = Ridge.fit(x, x[:, 0] * np.array([4.0, -4.0, 2.0, -2.0])[groups], groups)[0]
    assert disputed.penalty > agreed.penalty


# --- descriptions


def test_what_is_far_from_all_that_was_seen_counts_as_at_its_edge():
    fitted = Chooser.fit(history())
    assert fitted.choose(new(0.25), 1e12).tokens == pytest.approx(fitted.choose(new(0.25), 1e6).tokens)
    assert Scale.of([[1.0], [3.0]]).standardised([1000.0])[0] == 3


def test_what_is_not_known_is_average_and_marked():
    scale = Scale.of([[1.0, 10.0], [3.0, float("nan")]])
    assert scale.standardised([2.0, 10.0]).tolist() == [0, 0, 0, 0]
    assert scale.standardised([3.0, float("nan")]).tolist() == [1, 0, 0, 1]


def test_descriptions_are_repeatable_and_tell_models_tasks_and_prompts_apart():
    numbers_ = module._numbers(Situation("m", "t", "p", 1e9, 100.0, 0.5, 0.5), 1000)
    scale = Scale.of([numbers_, [2 * n for n in numbers_]])
    base = Situation("m", "t", "the cat sat", 1e9, 100.0, 0.5, 0.5)
    described = describe(base, 1000, scale)
    assert (describe(base, 1000, scale) == described).all()
    for change in (
        {"model": "other"}, {"task": "other"}, {"prompt": "sat the cat"}, {"parameters": 2e9}, {"sample_tokens": 50.0},
        {"agreement": 0.9}, {"shorter_wins": 0.9},
    ):  # fmt: skip
        assert (describe(msgspec.structs.replace(base, **change), 1000, scale) != described).any(), change
    assert (describe(base, 2000, scale) != described).any()
    assert np.linalg.norm(described[-module.PROMPT_WIDTH :]) == pytest.approx(1)


def test_each_strategy_has_weights_of_its_own_beside_the_shared_ones():
    described = np.arange(2.0 * (module.PROMPT_WIDTH + 3)).reshape(2, -1) + 1
    x = design(described, np.array([1, 0]), 2)
    assert x.shape == (2, module.PROMPT_WIDTH + 3 + 2 * 3)
    assert (x[:, : module.PROMPT_WIDTH + 3] == described).all()
    assert x[0, -6:].tolist() == [0, 0, 0, *described[0, :3]]
    assert x[1, -6:].tolist() == [*described[1, :3], 0, 0, 0]


@pytest.mark.parametrize("change", [{"accuracy": 1.2}, {"accuracy": float("nan")}, {"budget": 0}, {"tokens": 0}])
def test_impossible_rows_and_budgets_are_refused(change):
    rows = history(noise=0.0)
    with pytest.raises(InvalidParameter, match="accuracy from 0 to 1"):
        Chooser.fit([*rows, msgspec.structs.replace(rows[0], **change)])
    with pytest.raises(InvalidParameter, match="above 0 tokens"):
        Chooser.fit(rows).choose(new(0.5), 0)


def test_learning_takes_one_thread_and_leaves_the_program_s_own_as_they_were(monkeypatch):
    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    seen = []
    solve = module._solve
    monkeypatch.setattr(module, "_solve", lambda *given: seen.append(threads()) or solve(*given))
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        Chooser.fit(history(models=4))
        assert threads() == before
    assert seen and all(some <= {1} for some in seen)
