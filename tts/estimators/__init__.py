"""Unbiased estimators of the outcome of k samples of a pool, without drawing them, over all problems and every k.

Where a closed form exists it is used: the k of n samples are any k-subset, and order statistics give the frequency
with which each sample is the best, the shortest, the longest of one. Votes have no closed form: they are counted over
all subsets where these are few, otherwise over random ones, and the error of that is stated (`Curve.noise`).

All take a `Grid` and return a `Curve` of shape (problems, sizes). The conventions are those of the strategies, and a
replay of the strategy comes to the same (`tests/strategies/test_conventions.py`):

- **Who can vote.** A sample without an answer abstains: it does not vote, wins no race, and comes after those with an
  answer under a score. Where none of k samples can vote, the first of them stands, which in a random order is each
  equally often; its verdict is the recorded one. Where no sample of a pool has an answer, the votes are unknown: votes
  and races are refused, here, in replays and in reports. `Grid.of(unanswered="vote")` is
  the convention of much published code: samples without an answer are a class of their own that can win.
- **Who can be scored.** Best-of and weighted votes draw from the samples that the verifier was asked about. One on
  which it abstained is paid for and passed over; one about which it was not asked says nothing of it.
- **What failed.** Failures of the infrastructure are no samples. A problem of which every sample failed is in no mean,
  as the outcome of a run that failed is in none (`Grid.failed`).
- **Ties** are shared in proportion to the tied samples: in a random order each of these is seen first equally often,
  which is what the strategies go by.
"""

from __future__ import annotations

from tts.estimators.closed_forms import all_right, best_of, coverage, longest, pass_at_k, shorter_wins, shortest
from tts.estimators.curve import Curve, difference
from tts.estimators.escalation import trust_threshold
from tts.estimators.subsets import DRAWS, MOST_SUBSETS, MOST_TIES, none_of
from tts.estimators.votes import first_finishers, majority, majority_of_bests, pessimistic
from tts.pools.grid import Floats, Grid, Ints
from tts.toolkit.rankings.bradley_terry import Strength, bootstrapped, bradley_terry

__all__ = [
    "DRAWS",
    "MOST_SUBSETS",
    "MOST_TIES",
    "Curve",
    "Floats",
    "Grid",
    "Ints",
    "Strength",
    "all_right",
    "best_of",
    "bootstrapped",
    "bradley_terry",
    "coverage",
    "difference",
    "first_finishers",
    "longest",
    "majority",
    "majority_of_bests",
    "none_of",
    "pass_at_k",
    "pessimistic",
    "shorter_wins",
    "shortest",
    "trust_threshold",
]
