"""Rules that make one vector of scores of several, some of which may be arbitrary. Pure.

Each takes an array of shape (judges, candidates) without gaps, and `faulty`, the number of judges that may be wrong in
any way. The rules come from distributed learning, where workers' gradients are what judges' scores are here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Rule = Callable[[Scores, int], Scores]
RANK, REWEIGHTINGS, FLOOR = 4, 3, 1e-7  # of the flag
CLIP = 3.0  # deviations


def mean(scores: Scores, faulty: int = 0) -> Scores:
    """The mean: one faulty judge can move it anywhere."""
    found: Scores = scores.mean(axis=0)
    return found


def median(scores: Scores, faulty: int = 0) -> Scores:
    """The median of each candidate's scores (Yin et al. 2018, arXiv:1803.01498)."""
    found: Scores = np.median(scores, axis=0)
    return found


def trimmed(scores: Scores, faulty: int) -> Scores:
    """The mean of each candidate's scores without the `faulty` highest and lowest (Yin et al. 2018), as far as one is
    left."""
    cut = min(faulty, (len(scores) - 1) // 2)
    found: Scores = np.sort(scores, axis=0)[cut : len(scores) - cut].mean(axis=0)
    return found


def krum(scores: Scores, faulty: int) -> Scores:
    """The mean of the n - `faulty` judges that are nearest to their n - faulty - 2 nearest neighbours (multi-Krum,
    Blanchard et al. 2017, NeurIPS; it needs n >= 2·faulty + 3)."""
    found: Scores = scores[_nearest(scores, faulty)[: len(scores) - faulty]].mean(axis=0)
    return found


def bulyan(scores: Scores, faulty: int) -> Scores:
    """n - 2·`faulty` judges, each the first by Krum of those that are left; then of each candidate the mean of the
    scores nearest to their median, without 2·faulty of them (El Mhamdi et al. 2018, arXiv:1802.07927). It needs
    n >= 4·faulty + 3."""
    left, chosen = [*range(len(scores))], list[int]()
    while len(chosen) < max(1, len(scores) - 2 * faulty):
        first = left[_nearest(scores[left], faulty)[0]]
        chosen.append(first)
        left.remove(first)
    some = scores[chosen]
    kept = max(1, len(some) - 2 * faulty)
    order = np.argsort(np.abs(some - np.median(some, axis=0)), axis=0, kind="stable")[:kept]
    found: Scores = np.take_along_axis(some, order, axis=0).mean(axis=0)
    return found


def flag(scores: Scores, faulty: int = 0) -> Scores:
    """The mean of the judges' projections on the subspace that explains most of them (Flag Aggregator, Almasi et al.
    2023, arXiv:2302.05865): vectors of length 1, re-weighted by the part that the subspace leaves out.

    Of identical faulty judges it makes a direction of its own, and it cannot tell a flipped sign: use it against faults
    that are independent of one another. Differences from the paper: no pairwise terms; rank 4 and three re-weightings,
    because score vectors are short.
    """
    lengths = np.linalg.norm(scores, axis=1)
    units = scores / np.where(lengths > 0, lengths, 1.0)[:, None]
    weights = np.ones(len(scores))
    rank = min(RANK, *scores.shape)
    basis = np.empty((scores.shape[1], 0))
    for _ in range(REWEIGHTINGS + 1):
        vectors, _, _ = np.linalg.svd((units * np.sqrt(weights)[:, None]).T, full_matrices=False)
        basis = vectors[:, :rank]
        left_out = 1 - ((units @ basis) ** 2).sum(axis=1)
        weights = (np.maximum(left_out, 0) + FLOOR) ** -0.5
    found: Scores = (scores @ basis @ basis.T).mean(axis=0)
    return found


RULES: Mapping[str, Rule] = {
    "trimmed": trimmed, "median": median, "mean": mean, "krum": krum, "bulyan": bulyan, "flag": flag
}  # fmt: skip


def _nearest(scores: Scores, faulty: int) -> list[int]:
    """Judges by Krum's score: the sum of the squared distances to their nearest neighbours."""
    n = len(scores)
    squared = ((scores[:, None, :] - scores[None, :, :]) ** 2).sum(axis=2)
    neighbours = max(1, n - faulty - 2)
    sums = np.sort(squared, axis=1)[:, 1 : neighbours + 1].sum(axis=1)
    return [int(i) for i in np.argsort(sums, kind="stable")]


def varying(scores: Scores) -> npt.NDArray[np.bool_]:
    """Which judges tell candidates apart at all; of missing scores (NaN) nothing is said."""
    with np.errstate(invalid="ignore"):
        low, high = np.nanmin(scores, axis=1), np.nanmax(scores, axis=1)
    found: npt.NDArray[np.bool_] = high > low
    return found


def standardised(scores: Scores) -> Scores:
    """Each judge's scores less their mean, over their deviation, so that scales do not matter; NaN stays."""
    return _over_deviation(scores, np.nanmean(scores, axis=1, keepdims=True))


def centred(scores: Scores) -> Scores:
    """As `standardised`, less the median instead of the mean, and at most `CLIP` deviations from it: who calls few
    candidates very bad does not call all others good by it (`benchmarks/methods/panels.py`: with two of nine judges
    flipped in collusion, the median of z-scores is right in 79 % of panels, and that of these in 94 %)."""
    return np.clip(_over_deviation(scores, np.nanmedian(scores, axis=1, keepdims=True)), -CLIP, CLIP)


def _over_deviation(scores: Scores, middle: Scores) -> Scores:
    spread = np.nanstd(scores, axis=1, keepdims=True)
    found: Scores = (scores - middle) / np.where(spread > 0, spread, 1.0)
    return found
