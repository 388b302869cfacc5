"""Bradley-Terry strengths from games of two, by maximum likelihood, with bootstrap intervals.

P(i beats j) = p_i / (p_i + p_j); strengths are log p (Bradley & Terry 1952, Biometrika 39). The likelihood is concave
in them, and Newton's method finds its maximum in a few steps, where minorisation-maximisation (Hunter 2004, The MM
algorithm for generalized Bradley-Terry models, Annals of Statistics 32(1), which compares both) takes thousands once
there are hundreds of games. Resampling whole problems is MIRAGE-Bench's (arXiv:2410.13716, §3.3).

Differences from the papers: a tie is half a win for either side (MIRAGE-Bench drops ties); and everybody also draws
`prior` games against an opponent of strength 0, so that strengths are finite where somebody has won, or lost, every
game, or where two groups never met. With `prior=0` they are the maximum of the likelihood, centred on mean 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tts.errors import InvalidParameter
from tts.types import Value

Floats = npt.NDArray[np.float64]
_STEPS, _TOLERANCE = 1000, 1e-10


class Strength(Value, frozen=True):
    """A log strength, and the ends of its interval; None where no other problems could have been drawn."""

    value: float
    low: float | None
    high: float | None


def bradley_terry(wins: Sequence[Sequence[float]] | Floats, *, prior: float = 1.0) -> list[float]:
    """Log strengths; the difference of two is the log odds that the first wins.

    Args:
        wins: `wins[i][j]` is how often i has beaten j; a tie counts half for both. Shape (n, n), with a diagonal of 0.
        prior: games that everybody draws against an opponent of strength 0.

    Raises:
        InvalidParameter: `wins` is not square or has a value below 0; `prior` is below 0, or 0 where the games alone do
            not say the strengths (somebody has won or lost all of them, or groups have not met).
    """
    table = _checked(np.asarray(wins, dtype=np.float64), prior)
    games, won = table + table.T, table.sum(axis=1) + prior / 2

    def likelihood(log: Floats) -> float:
        met = (games * np.logaddexp(log[:, None], log[None, :])).sum() / 2
        return float(won @ log - met - prior * np.logaddexp(log, 0).sum())

    strengths = np.zeros(len(table))
    for _ in range(_STEPS):
        step = _newton(strengths, games, won, prior)
        if np.abs(step).max() < _TOLERANCE:
            break
        least = likelihood(strengths) - 1e-9 * won.sum()  # what is less by rounding is no less
        while likelihood(strengths + step) < least:
            step /= 2
        strengths += step
    return [float(value) for value in strengths]


def _newton(strengths: Floats, games: Floats, won: Floats, prior: float) -> Floats:
    """Newton's step; without a prior the shortest, so that the mean stays 0."""
    wins = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    own = 1 / (1 + np.exp(-strengths))
    gradient = won - (games * wins).sum(axis=1) - prior * own
    weights = games * wins * wins.T
    curvature = np.diag(weights.sum(axis=1) + prior * own * (1 - own)) - weights
    step: Floats = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
    return step


def bootstrapped(
    wins_by_problem: Sequence[Sequence[Sequence[float]]] | Floats,
    *,
    prior: float = 1.0,
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> list[Strength]:
    """Strengths of all problems' games together, with intervals from drawing problems with replacement.

    Args:
        wins_by_problem: a table of wins for each problem, shape (problems, n, n).
        resamples: drawn sets of problems; 200 are MIRAGE-Bench's. level: coverage of the intervals.
        seed: of the draws.

    Raises:
        InvalidParameter: as `bradley_terry`; there are no problems, or `level` is not in (0, 1).
    """
    tables = np.asarray(wins_by_problem, dtype=np.float64)
    if tables.ndim != 3 or not len(tables) or not 0 < level < 1 or resamples < 1:
        raise InvalidParameter(f"wins must be of shape (problems, n, n), not {tables.shape}; level in (0, 1): {level}")
    values = bradley_terry(tables.sum(axis=0), prior=prior)
    if len(tables) == 1:
        return [Strength(value, None, None) for value in values]
    drawn = np.random.default_rng(seed).multinomial(len(tables), [1 / len(tables)] * len(tables), size=resamples)
    refitted = np.array([bradley_terry(np.tensordot(counts, tables, 1), prior=prior) for counts in drawn])
    low, high = np.quantile(refitted, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Strength(v, float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]


def _checked(table: Floats, prior: float) -> Floats:
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not len(table):
        raise InvalidParameter(f"wins must be a square table, but has the shape {table.shape}")
    if not np.isfinite(table).all() or table.min() < 0 or np.diagonal(table).any():
        raise InvalidParameter("wins must be finite and at least 0, and 0 against oneself")
    if prior < 0 or (not prior and not _connected(table)):
        raise InvalidParameter(
            f"with prior={prior:g} these games have no finite strengths: somebody has won or lost all of them, or two "
            "groups have never met; take a prior above 0",
            prior=prior,
        )
    return table


def _connected(table: Floats) -> bool:
    """Whether a chain of wins leads from everybody to everybody (Ford 1957), without which there is no maximum."""
    reach = (table > 0) | np.eye(len(table), dtype=bool)
    while True:
        further = reach @ reach
        if (further == reach).all():
            return bool(reach.all())
        reach = further
