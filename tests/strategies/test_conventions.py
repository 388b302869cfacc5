"""One rule for who can vote: what the estimators say is what the strategies do, over every order of the samples."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.analysis.pool_study import study_pool
from tts.api.replays import replay
from tts.clusters.virtual import recorded
from tts.errors import PoolLacks
from tts.estimators import Grid, best_of, coverage, first_finishers, majority, majority_of_bests, pessimistic, shortest
from tts.pools.pool import NO_ANSWER, Pool, Sample

N = 4
ORDERS = list(permutations(range(N)))
CASES = {
    "single": lambda grid: coverage(grid, [1]),
    "majority_vote:n=3": lambda grid: majority(grid, [3]),
    "first_finish:n=3": lambda grid: shortest(grid, [3]),
    "first_finish:n=4,k=2": lambda grid: first_finishers(grid, [4], 2),
    "first_finish:n=3,k=1": lambda grid: first_finishers(grid, [3], 1),
    "best_of_n:n=2,verifier=rm": lambda grid: best_of(grid, [2], "rm"),
    "best_of_n:n=2,verifier=rm,selector=weighted_majority": lambda grid: majority(grid, [2], score="rm"),
    "best_of_majority:n=3,m=2,verifier=rm,trust=blind": lambda grid: majority_of_bests(grid, [3], "rm", m=2),
    "pessimistic:n=3,verifier=rm,trust=blind": lambda grid: pessimistic(grid, [3], "rm"),
    "genrm:n=2,verifications=2,verifier=judge,selector=best_score": lambda grid: best_of(grid, [2], "judge"),
}
NOT_ASKED = object()


@pytest.fixture(scope="module", autouse=True)
def every_order():
    """A seed is the number of an order."""
    drawn = recorded.permutation
    recorded.permutation = lambda seed, problem_id, n: list(ORDERS[seed])
    yield
    recorded.permutation = drawn


@st.composite
def samples(draw):
    """Answers that compete or are missing, samples that were cut, lengths and scores that are tied, scores that are
    missing because the verifier abstained or was not asked, and a problem of which every sample failed."""
    scores = st.sampled_from([0.0, 0.5, 1.0, None, NOT_ASKED])
    rows = []
    for p in range(2):
        asked = draw(st.lists(scores, min_size=N, max_size=N).filter(lambda s: sum(v is not NOT_ASKED for v in s) >= 3))
        for i, score in enumerate(asked):
            answer = draw(st.sampled_from(["a", "b", "c", None]))
            rows.append(
                Sample(
                    "b",
                    "m",
                    f"p{p}",
                    i,
                    answer,
                    answer == "a",
                    completion_tokens=draw(st.integers(1, 3)) * 10,
                    finish_reason=draw(st.sampled_from([None, "stop", "length", "other"])),
                    scores={}
                    if score is NOT_ASKED
                    else {"rm": score, "judge": [score, draw(st.sampled_from([0.25, None]))]},
                )
            )
    failed = draw(st.booleans())
    return rows + [Sample("b", "m", "lost", i, error="on fire") for i in range(N) if failed]


@settings(deadline=None, max_examples=20)
@given(samples(), st.sampled_from(["abstain", "vote"]))
def test_a_replay_over_every_order_is_what_the_estimators_say(rows, unanswered):
    pool = Pool.of("made", rows)
    if all(row.answer is None for row in rows):
        return  # refused: see below
    grid = Grid.of(pool, unanswered=unanswered)
    found = replay(pool, list(CASES), seeds=range(len(ORDERS)), unanswered=unanswered, report=False)
    tied = any(len({r.completion_tokens for r in rows if r.problem_id == p}) < N for p in grid.problems)
    for row, (name, estimate) in zip(found.rows, CASES.items(), strict=True):
        if tied and "k=2" in name:
            continue  # who of the tied is in a vote, and whose answer wins a tied vote, are one chance in a replay
        assert row.accuracy.mean == pytest.approx(estimate(grid).mean()[0]), name
        assert row.errors == len(grid.failed) * len(ORDERS)


def without_answers(verdict=lambda i: i % 2 == 0):
    return [
        Sample("b", "m", f"p{p}", i, None, verdict(p + i), completion_tokens=10 + i, scores={"rm": i / N})
        for p in range(3)
        for i in range(N)
    ]


@pytest.mark.parametrize("verdict", [lambda i: i % 2 == 0, lambda i: False])
@pytest.mark.parametrize(
    "name",
    [
        "majority_vote:n=3",
        "majority_vote:n=4,stop_at=0.95",
        "esc:n=4,window=2",
        "first_finish:n=3",
        "best_of_n:n=3,verifier=rm,selector=weighted_majority",
        "best_of_n:n=3,verifier=rm,selector=borda",
        "best_of_n:n=3,verifier=rm,selector=majority",
    ],
)
def test_where_no_sample_has_an_answer_a_vote_is_refused_with_what_to_use_instead(verdict, name):
    with pytest.raises(PoolLacks, match=r"no sample of programs has an answer.*use pass@k, single, or best-of"):
        replay(Pool.of("programs", without_answers(verdict)), ["single", name], report=False)


def test_where_no_sample_has_an_answer_a_choice_by_score_is_what_the_estimators_say():
    pool = Pool.of("programs", without_answers())
    found = replay(pool, ["single", "best_of_n:n=3,verifier=rm"], seeds=range(len(ORDERS)), report=False)
    grid = Grid.of(pool)
    expected = [coverage(grid, [1]).mean()[0], best_of(grid, [3], "rm").mean()[0]]
    assert [row.accuracy.mean for row in found.rows] == pytest.approx(expected)


def test_a_report_of_a_pool_without_answers_leaves_out_votes_and_races_and_says_why():
    found = study_pool(Pool.of("programs", without_answers()))
    assert {e.method for e in found.estimates} == {"coverage", "best_of(rm) without scoring"}
    assert any(note.startswith("No votes and no races: no sample has an answer") for note in found.notes)


def test_samples_without_an_answer_win_a_vote_where_they_are_a_class():
    rows = [Sample("b", "m", "p", i, a, a == "a", completion_tokens=10) for i, a in enumerate(["a", None, None, None])]
    pool = Pool.of("made", rows)
    means = {}
    for unanswered in ("abstain", "vote"):
        (row,) = replay(pool, "majority_vote:n=4", unanswered=unanswered, report=False).rows
        (shown,) = (e for e in study_pool(pool, unanswered=unanswered).estimates if (e.method, e.k) == ("majority", 4))
        means[unanswered] = row.accuracy.mean, shown.accuracy
    assert means == {"abstain": (1.0, 1.0), "vote": (0.0, 0.0)}
    (outcome,) = replay(pool, "majority_vote:n=4", unanswered="vote", report=False).outcomes
    assert outcome.answer == NO_ANSWER


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_scores_of_a_few_samples_say_what_scores_of_these_alone_would(data):
    """Best-of@k over samples of which some were never scored is best-of@k over the others."""
    rows = data.draw(samples())
    asked = [row for row in rows if "rm" in row.scores]
    k = min(sum(row.problem_id == p for row in asked) for p in ("p0", "p1"))
    whole, part = Grid.of(Pool.of("made", rows)), Grid.of(Pool.of("made", asked))
    assert best_of(whole, [k], "rm").accuracy == pytest.approx(best_of(part, [k], "rm").accuracy)
