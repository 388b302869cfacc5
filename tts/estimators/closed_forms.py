"""Estimators in closed form: pass@k, worst-of-k, best-of-k, and the shortest and the longest of k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tts.errors import InvalidParameter
from tts.estimators.counting import vote_accuracy
from tts.estimators.curve import Curve, curve_of
from tts.estimators.order_statistics import all_k_costs, firsts, race_costs
from tts.estimators.subsets import DRAWS, none_of
from tts.pools.grid import Floats, Grid, Ints


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that k of n samples, drawn without replacement, hold a right one: 1 - C(n-c, k) / C(n, k).

    Chen et al. 2021, arXiv:2107.03374, §2.1, in its numerically stable product form.

    Raises:
        InvalidParameter: unless 0 <= correct <= n and 1 <= k <= n.
    """
    if not (0 <= correct <= n and 1 <= k <= n):
        raise InvalidParameter(
            f"pass@k needs 0 <= correct <= n and 1 <= k <= n, but got n={n}, correct={correct}, k={k}",
            n=n,
            correct=correct,
            k=k,
        )
    if n - correct < k:
        return 1.0
    missed = 1.0
    for i in range(n - correct + 1, n + 1):
        missed *= 1 - k / i
    return 1 - missed


def coverage(grid: Grid, ks: Sequence[int]) -> Curve:
    """pass@k by problem: the chance that k samples hold a right one (Chen et al. 2021, arXiv:2107.03374, §2.1)."""
    sizes = grid.check_sizes(ks)
    right = grid.correct.sum(axis=1)
    accuracy = 1 - none_of(right[:, None], grid.counts[:, None], sizes)
    return curve_of("coverage", grid, sizes, accuracy, *all_k_costs(grid, sizes))


def all_right(grid: Grid, ks: Sequence[int]) -> Curve:
    """Worst-of-k: the chance that all k samples are right (Balachandran et al. 2025, arXiv:2504.00294)."""
    sizes = grid.check_sizes(ks)
    wrong = grid.counts - grid.correct.sum(axis=1)
    accuracy = none_of(wrong[:, None], grid.counts[:, None], sizes)
    return curve_of("worst", grid, sizes, accuracy, *all_k_costs(grid, sizes))


def best_of(grid: Grid, ks: Sequence[int], score: str) -> Curve:
    """Best-of-k under a score: a sample's chance to be the best of k times whether it is right (Singhi et al. 2025,
    arXiv:2504.01005, their code's sorted estimator; exact over ties instead of shuffling them).

    The k are of the samples that the verifier was asked about. One without an answer is taken only if there is none
    with an answer and a score; if there is no score at all, the majority is taken.
    """
    grid = grid.judged(score)
    sizes, values = grid.check_sizes(ks), grid.score(score)
    spoke = ~np.isnan(values)
    last = np.where(spoke, -values, -np.inf).max(axis=1, keepdims=True) - np.where(spoke, -values, np.inf).min() + 1
    keys = np.where(spoke, np.where(grid.classes >= 0, -values, -values + last), np.inf)
    accuracy, noise = _first_or_vote(grid, keys, sizes)
    return curve_of(f"best_of({score})", grid, sizes, accuracy, *all_k_costs(grid, sizes), noise=noise)


def shortest(grid: Grid, ks: Sequence[int]) -> Curve:
    """First finish: the shortest usable sample of k. Tokens are `Σ min(length, cutoff)`: tokens that the others had
    decoded when the first one ended are paid for (Agarwal et al. 2025, arXiv:2505.18149)."""
    grid.check_votes()
    sizes, lengths = grid.check_sizes(ks), grid.lengths()
    accuracy, noise = _first_or_vote(grid, np.where(grid.usable, lengths, np.inf), sizes)
    return curve_of("shortest", grid, sizes, accuracy, *race_costs(grid, sizes), noise=noise)


def longest(grid: Grid, ks: Sequence[int]) -> Curve:
    """The longest usable sample of k (the LFS of Agarwal et al. 2025): a check on whether length carries anything."""
    grid.check_votes()
    sizes, lengths = grid.check_sizes(ks), grid.lengths()
    accuracy, noise = _first_or_vote(grid, np.where(grid.usable, -lengths, np.inf), sizes)
    return curve_of("longest", grid, sizes, accuracy, *all_k_costs(grid, sizes), noise=noise)


def shorter_wins(grid: Grid) -> tuple[Floats, Floats]:
    """The number of pairs of a right and a wrong sample of one problem in which the shorter is the right one (ties
    count half), and the number of pairs, by problem. w is the first's sum over the second's: racing pays only where it
    is clearly above 1/2. Within problems, because hard ones have long samples and wrong ones, whatever length says."""
    lengths = grid.lengths()
    wins, pairs = np.zeros(len(grid.problems)), np.zeros(len(grid.problems))
    for p, n in enumerate(grid.counts):
        right = lengths[p, :n][grid.correct[p, :n]][:, None]
        wrong = lengths[p, :n][~grid.correct[p, :n]]
        wins[p] = (right < wrong).sum() + (right == wrong).sum() / 2
        pairs[p] = right.size * wrong.size
    return wins, pairs


def _first_or_vote(grid: Grid, keys: Floats, sizes: Ints) -> tuple[Floats, Floats]:
    """The accuracy of taking the sample with the least key of k, and where all of these are infinite, the majority of
    the k; and its noise."""
    may = np.isfinite(keys) & grid.there
    wins = np.where(may[:, :, None], firsts(grid, keys, sizes), 0.0)
    accuracy = np.einsum("pnk,pn->pk", wins, grid.correct)
    nobody = none_of(may.sum(axis=1)[:, None], grid.counts[:, None], sizes)
    if not nobody.any():
        return accuracy, np.zeros(accuracy.shape)
    rest = grid.only(~may)
    first = rest.correct.sum(axis=1) / np.maximum(rest.counts, 1)  # stands where none of them can vote
    vote, noise = np.repeat(first[:, None], len(sizes), axis=1), np.zeros(accuracy.shape)
    if (rest.classes >= 0).any():
        voted = (rest.classes >= 0).any(axis=1, keepdims=True)
        by_vote, spread = vote_accuracy(rest, sizes, None, DRAWS, 0)
        vote, noise = np.where(voted, by_vote, vote), np.where(voted, spread, 0.0)
    return accuracy + nobody * vote, nobody * noise
