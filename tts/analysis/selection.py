"""Whether choosing by a pool's scores pays: against the plain vote, and against fewer samples.

A score is adversely selected where best-of-k falls as k grows: the more samples there are to choose from, the more
likely is one that only seems right (Gao et al. 2023, arXiv:2210.10760; Stroebl et al. 2024, arXiv:2411.17501).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from tts.errors import BadPool
from tts.estimators import Curve, Grid, best_of, coverage, majority, majority_of_bests, pessimistic
from tts.intervals import Interval, paired_difference
from tts.pools.pool import Pool
from tts.types import Value

RULES: dict[str, str] = {
    "best_of": "best_of_n:n={k},verifier={score}",
    "weighted": "best_of_n:n={k},verifier={score},selector=weighted_majority",
    "best_of_majority": "best_of_majority:n={k},verifier={score},trust=blind",
    "pessimistic": "pessimistic:n={k},verifier={score},trust=blind",
}  # rule -> the strategy that follows it


class Gain(Value, frozen=True):
    """The accuracy of one rule with k samples, and what it has over the plain vote of as many; without answers to vote
    on, over one sample. `interval`: 95 % over problems, of all rules of the score together."""

    rule: str
    k: int
    accuracy: float
    interval: Interval | None

    @property
    def pays(self) -> bool:
        return self.interval is not None and self.interval.low is not None and self.interval.low > 0

    @property
    def harms(self) -> bool:
        return self.interval is not None and self.interval.high is not None and self.interval.high < 0


class Fall(Value, frozen=True):
    """Best-of-k with `most` samples, below that with fewer by a difference whose interval lies below 0."""

    fewer: int
    most: int
    at_fewer: float
    at_most: float
    interval: Interval


class Selection(Value, frozen=True):
    """What choosing by one score is worth.

    Args:
        k: number of samples, the most that every problem has with a score.
        vote: accuracy of the plain vote of k, or of one sample where there are no answers to vote on.
        gains: by rule; those that the scores allow.
        fall: None where best-of-k does not clearly fall.
    """

    score: str
    k: int
    vote: float
    voted: bool
    gains: tuple[Gain, ...]
    fall: Fall | None

    @property
    def best(self) -> Gain | None:
        """The rule with the greatest gain that is clearly above 0; None where verification does not pay."""
        return max((gain for gain in self.gains if gain.pays), key=lambda gain: gain.accuracy, default=None)

    @property
    def strategy(self) -> str:
        """The strategy to take, as on the command line."""
        if self.best is not None:
            return RULES[self.best.rule].format(k=self.k, score=self.score)
        return f"majority_vote:n={self.k}" if self.voted else "single"

    def warnings(self) -> Iterator[str]:
        """What speaks against the score."""
        if self.fall is not None:
            yield (
                f"best-of-n by {self.score} falls as n grows: {100 * self.fall.at_fewer:.1f} % of {self.fall.fewer}, "
                f"{100 * self.fall.at_most:.1f} % of {self.fall.most} ({_points(self.fall.interval)})"
            )
        first = self.gains[0]
        if first.harms and first.interval is not None:
            instead = f"the vote of {self.k}" if self.voted else "one sample"
            yield f"best-of-{self.k} by {self.score} is below {instead}: {_points(first.interval)}"


def selection_of(
    grid: Grid, score: str, *, rules: Collection[str] = RULES, draws: int = 100, seed: int = 0
) -> Selection | None:
    """Compare the rules that choose by a score. None where no problem, or not every one, has a sample with a score.

    Args:
        rules: of `RULES`; best-of-n is always among them.
        draws, seed: of random subsets, as for the estimators.

    Raises: UnknownName.
    """
    judged = grid.judged(score)
    most = int(judged.counts.min())
    values = judged.score(score)
    if not most or np.isnan(values[judged.there]).all():
        return None
    sizes = [*(2**i for i in range(most.bit_length())), *([most] if most & (most - 1) else [])]
    curve = best_of(grid, sizes, score)
    possible: dict[str, Callable[[], Curve]] = {"best_of": lambda: curve}
    if grid.answers:
        if not (values[judged.there & ~np.isnan(values)] < 0).any():
            possible["weighted"] = lambda: majority(grid, [most], score=score, draws=draws, seed=seed)
        possible["best_of_majority"] = lambda: majority_of_bests(grid, [most], score, draws=draws, seed=seed)
        possible["pessimistic"] = lambda: pessimistic(grid, [most], score, draws=draws, seed=seed)
    plain = majority(judged, [most], draws=draws, seed=seed) if grid.answers else coverage(judged, [1])
    of = most if grid.answers else 1
    chosen = {rule: make for rule, make in possible.items() if rule in rules or rule == "best_of"}
    found = [_gain(rule, make(), plain, most, of, 1 - 0.05 / len(chosen)) for rule, make in chosen.items()]
    return Selection(score, most, float(plain.mean()[0]), grid.answers, tuple(found), _fall(curve, sizes))


def warnings_of(pool: Pool) -> list[str]:
    """What speaks against choosing by a pool's scores, of each model on each benchmark; nothing is known of samples
    that were not graded."""
    parts = dict.fromkeys((group.benchmark, group.model) for group in pool.groups())
    found: list[str] = []
    for benchmark, model in parts:
        part = pool.select(benchmark=benchmark, model=model)
        with contextlib.suppress(BadPool):
            grid = Grid.of(part)
            some = [selection_of(grid, score, rules=("best_of",)) for score in grid.scores]
            of = f" ({model} on {benchmark})" if len(parts) > 1 else ""
            found += [f"{line}{of}" for one in some if one is not None for line in one.warnings()]
    return found


def _gain(rule: str, curve: Curve, plain: Curve, k: int, of: int, level: float) -> Gain:
    one, other = ({p: [value] for p, value in c.at(size).items()} for c, size in ((curve, k), (plain, of)))
    return Gain(rule, k, float(curve.mean()[curve.ks == k][0]), paired_difference(one, other, level=level))


def _fall(curve: Curve, sizes: Sequence[int]) -> Fall | None:
    """The greatest fall of best-of-k to its last size that is clear, corrected for the number of sizes."""
    most, means = sizes[-1], dict(zip(sizes, curve.mean().tolist(), strict=True))
    level = 1 - 0.05 / max(1, len(sizes) - 1)
    falls = []
    for k in sizes[:-1]:
        last, fewer = ({p: [value] for p, value in curve.at(size).items()} for size in (most, k))
        found = paired_difference(last, fewer, level=level)
        if found is not None and found.high is not None and found.high < 0:
            falls.append(Fall(k, most, means[k], means[most], found))
    return max(falls, key=lambda fall: fall.at_fewer - fall.at_most, default=None)


def _points(interval: Interval) -> str:
    low, high = interval.low, interval.high
    between = "" if low is None or high is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{100 * interval.mean:+.1f}{between} points"
