"""The contract of the choice by difficulty; tests/toolkit/test_difficulty.py has the rest."""

from tts.testing import StrategyContract


class TestComputeOptimal(StrategyContract):
    strategy = "compute_optimal:policy=0.5:sequential_revision/2x3;0.8:best_of_n/6;majority_vote/4,verifier=judge"
    order_free = True

    def counted(self, n):
        return {"policy": f"0.5:best_of_n/{n};majority_vote/{n}"}


class TestComputeOptimalByAJudgeSScores(StrategyContract):
    strategy = "compute_optimal:policy=0.5:best_of_n/5;majority_vote/2,pilot=3,difficulty=score,verifier=judge"
    order_free = True
