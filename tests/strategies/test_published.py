"""Published figures come out again, from recorded generations that are not in this repository."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
POOLS = ROOT.parent / "shared" / "pools"
sys.path.insert(0, str(ROOT / "benchmarks" / "published"))

pytestmark = pytest.mark.skipif(
    not POOLS.is_dir(), reason=f"the recorded generations are not at {POOLS}; they are under licences of their own"
)


@pytest.fixture(scope="module")
def published():
    pytest.importorskip("scipy", reason="the extra `laws` is not installed")
    import published

    return published


def test_the_seven_systems_of_judgebench_come_out_to_the_digit_through_the_judge_of_pairs():
    import judgebench

    found = judgebench.judged(POOLS)
    assert found.keys() == judgebench.PUBLISHED.keys() and judgebench.differences(found) == []


def test_codet_s_consensus_and_what_it_is_compared_with(published):
    assert [round(v, 1) for v in published.coded(POOLS)] == [22.8, 37.0, 21.3]


def test_game_of_24_s_pass_at_1(published):
    alone, voted = published.gamed(POOLS)
    assert round(alone, 1) == 4.0
    assert 4.0 < voted < 10.0


def test_the_tables_of_first_finish_search_come_out_but_for_one_tie(published):
    pool = published.pool_of(POOLS, "ffs_traces8")
    for (model, benchmark), row in published.RACES.items():
        found = published.raced(published.choose(pool, benchmark, model))
        allowed = 0.56 if (model, benchmark) == ("Qwen3-235B", "gpqa") else 0.051
        assert np.abs(np.array(row) - found[:8]).max() <= allowed, (model, benchmark)
        assert found[8] <= found[7], "the winner's cutoff cannot cost more than everybody's end"


def test_w_says_who_should_race(published):
    pool = published.pool_of(POOLS, "boinf_aime2024")
    for model, was in published.W.items():
        assert published.shorter(published.choose(pool, None, model)) == pytest.approx(was, abs=5e-4)


def test_the_laws_extrapolate_in_the_published_order(published):
    errors = {law: float(np.abs(found).mean()) for law, found in published.extrapolated(POOLS).items()}
    assert errors["single p over the set"] > errors["plug-in"] > errors["beta"] > errors["power"]
    assert errors["power"] == pytest.approx(2.9, abs=0.5)
    assert errors["beta"] == pytest.approx(3.3, abs=0.5)


def test_replays_and_estimators_give_the_published_votes_and_races(published):
    """One set of the table; `benchmarks/published/published.py` has them all."""
    pool = published.choose(published.pool_of(POOLS, "boinf_aime2024"), None, "Qwen3-30B-A3B-Thinking-2507")
    was = published.VOTES["boinf_aime2024", "Qwen3-30B-A3B-Thinking-2507"]
    replayed, estimated = published.voted(pool, 40)
    for i, (before, now) in enumerate(zip(was, replayed, strict=True)):
        if i in (7, 9):
            assert now == pytest.approx(before, rel=0.03)
        else:
            assert now == pytest.approx(before, abs=0.7)
    assert np.abs(np.array(replayed[:6]) - estimated).max() < 1.5


def test_scores_that_prefer_wrong_solutions_are_told_from_those_that_pay():
    """RewardMATH; `benchmarks/published/score_selection.py` has all scores, and the replays."""
    import score_selection

    from tts.analysis.selection import selection_of
    from tts.estimators import Grid

    grid = Grid.of(score_selection.reward_pool(POOLS))
    found = {name: selection_of(grid, name, rules=("best_of",)) for name in ("internlm2", "chatgpt", "grm_gemma")}
    assert [found[name].best is not None for name in found] == [True, False, False]
    assert [round(100 * found[name].gains[0].accuracy, 1) for name in found] == [37.3, 10.0, 5.0]
    assert found["grm_gemma"].fall is not None and found["internlm2"].fall is None
