"""Simulated pools, drawn from the posterior that a few samples of each problem leave. Pure; numpy.

A pilot shows how often each problem was answered correctly, and with which answers. `Posterior.draw` simulates further
samples; replaying them predicts the accuracy and the cost of a strategy, an allocator and a budget, with the
uncertainty that a small pilot leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import lgamma

import numpy as np

from tts.errors import BadPool
from tts.pools.pool import UNKNOWN, Group, Pool, Sample
from tts.toolkit.beta import log_beta

RIGHT = "\N{CHECK MARK}"  # stands for the right answer of any problem
OUTLOOK = 256  # simulated samples, whose most frequent answer stands for an endless vote's


class _Seen:
    """One problem's pilot."""

    def __init__(self, pool: Pool, group: Group) -> None:
        rows = [row for row in range(group.start, group.stop) if pool.error[row] is None]
        tokens = pool.completion_tokens[rows]
        self.problem_id = group.problem_id
        self.right = [bool(pool.correct[row] == 1) for row in rows]
        self.graded = all(pool.correct[row] != UNKNOWN for row in rows)
        self.answers = [pool.answer[row] for row in rows]
        self.logs = np.log(np.maximum(tokens, 1).astype(float))
        self.scores = {name: _means(column[rows]) for name, column in pool.scores.items()}
        self.prompt_tokens = int(max(0, pool.prompt_tokens[group.start]))

    @property
    def rights(self) -> int:
        return sum(self.right)


class Posterior:
    """The posterior of one model's samples on one benchmark, given a pilot.

    How often a problem is answered rightly is Beta, with the prior that fits all problems best; which wrong answer is
    given follows a Pitman-Yor law over those that were seen (so that new ones come), its discount and strength
    likewise. Lengths are log-normal: the problem's mean, drawn towards all problems', with residuals as they were seen,
    right and wrong apart; scores are resampled, right and wrong apart. Without references, `right` is the answer that
    an endless vote would choose, and accuracies are agreements with it.

    Args:
        pool: at least two samples of most problems.
    Raises: BadPool.
    """

    def __init__(self, pool: Pool) -> None:
        pool.one_benchmark()
        self._problems = [_Seen(pool, group) for group in pool.groups()]
        self._problems = [p for p in self._problems if p.answers]
        if not self._problems:
            raise BadPool(f"every sample of {pool.name} failed: there is nothing to plan from", pool=pool.name)
        self.graded = all(p.graded for p in self._problems)
        self.counts = {p.problem_id: len(p.answers) for p in self._problems}
        self.prior = _beta_prior([(p.rights, len(p.answers)) for p in self._problems]) if self.graded else (1.0, 1.0)
        self._novelty = _novelty([self._wrong(p) for p in self._problems])
        self._mean = float(np.mean(np.concatenate([p.logs for p in self._problems])))
        self._scores = {
            (name, right): [
                s for p in self._problems for s, hit in zip(p.scores[name], p.right, strict=True) if hit == right
            ]
            for name in pool.scores
            for right in (True, False)
        }
        self._costs = pool.verification_costs
        self._residuals = {right: self._residuals_of(right) for right in (True, False)}

    @property
    def problems(self) -> list[str]:
        return [p.problem_id for p in self._problems]

    def draw(self, n: int, seed: int, most: int | None = None) -> Pool:
        """`n` simulated samples of each of as many problems as the pilot had, at most `most`, drawn with replacement.
        The spread over seeds holds the uncertainty of the pilot and the variation between problems of the kind."""
        random = np.random.default_rng(seed)
        size = min(len(self._problems), most or len(self._problems))
        chosen = [self._problems[i] for i in np.sort(random.choice(len(self._problems), size, replace=True))]
        samples = (s for place, seen in enumerate(chosen) for s in self._samples(seen, place, n, random))
        return replace(Pool.of(f"simulated {seed}", samples, keep_text=False), verification_costs=self._costs)

    def _samples(self, seen: _Seen, place: int, n: int, random: np.random.Generator) -> Iterator[Sample]:
        answers = self._simulated(seen, n, random)
        mean = (seen.logs.sum() + self._mean) / (len(seen.logs) + 1)
        for i, answer in enumerate(answers):
            right = answer == RIGHT
            tokens = float(np.exp(mean + random.choice(self._residuals[right])))
            yield Sample(
                benchmark="simulated",
                model="simulated",
                problem_id=f"{place}:{seen.problem_id}".replace("/", "|"),
                sample_id=i,
                answer=answer,
                correct=right,
                prompt_tokens=seen.prompt_tokens,
                completion_tokens=max(1, round(tokens)),
                scores={name: self._score(name, seen, right, random) for name in seen.scores},
            )

    def _simulated(self, seen: _Seen, n: int, random: np.random.Generator) -> list[str | None]:
        if not self.graded:
            drawn = _urn(Counter(seen.answers), self._novelty, max(n, OUTLOOK), random)
            votes = Counter(answer for answer in drawn if answer is not None)
            mode = votes.most_common(1)[0][0] if votes else None
            return [RIGHT if answer is not None and answer == mode else answer for answer in drawn[:n]]
        a, b = self.prior
        p = random.beta(a + seen.rights, b + len(seen.right) - seen.rights)
        right = random.random(n) < p
        wrong = iter(_urn(self._wrong(seen), self._novelty, int(n - right.sum()), random))
        return [RIGHT if hit else next(wrong) for hit in right]

    def _wrong(self, seen: _Seen) -> Counter[str | None]:
        if not self.graded:
            return Counter(seen.answers)
        return Counter(answer for answer, right in zip(seen.answers, seen.right, strict=True) if not right)

    def _residuals_of(self, right: bool) -> np.ndarray:
        found = [
            log - seen.logs.mean()
            for seen in self._problems
            for log, hit in zip(seen.logs, seen.right, strict=True)
            if len(seen.logs) > 1 and (hit == right or not self.graded)
        ]
        return np.array(found) if found else np.zeros(1)

    def _score(self, name: str, seen: _Seen, right: bool, random: np.random.Generator) -> float | None:
        """A score of the problem's own samples with probability n / (n + 2) for n of them, else a score of any
        problem's."""
        own = [s for s, hit in zip(seen.scores[name], seen.right, strict=True) if hit == right]
        if own and random.random() < len(own) / (len(own) + 2):
            return own[int(random.integers(len(own)))]
        every = self._scores[name, right]
        return every[int(random.integers(len(every)))] if every else None


def _urn(
    seen: Mapping[str | None, int], novelty: tuple[float, float], n: int, random: np.random.Generator
) -> list[str | None]:
    """`n` further answers from a Pitman-Yor urn that holds the answers seen so far."""
    discount, strength = novelty
    names = list(seen)
    weights = [seen[name] - discount for name in names]
    drawn: list[str | None] = []
    for i in range(n):
        total = sum(weights) + strength + discount * len(names)
        place = random.random() * total
        for j, weight in enumerate(weights):
            place -= weight
            if place < 0:
                weights[j] += 1
                drawn.append(names[j])
                break
        else:
            names.append(f"new {i}")
            weights.append(1 - discount)
            drawn.append(names[-1])
    return drawn


def _beta_prior(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The Beta distribution of the problems' rates under which the counts are most likely, on a grid. Two virtual
    problems of one sample each, one right and one wrong, keep extreme rates possible."""
    tried: list[tuple[float, float, float]] = []
    observed = Counter([*counts, (1, 1), (0, 1)])
    for mean in np.linspace(0.02, 0.98, 49):
        for weight in np.geomspace(0.05, 50, 40):
            a, b = mean * weight, (1 - mean) * weight
            fit = sum(k * (log_beta(a + right, b + n - right) - log_beta(a, b)) for (right, n), k in observed.items())
            tried.append((fit, a, b))
    _, a, b = max(tried)
    return float(a), float(b)


def _novelty(problems: Sequence[Mapping[str | None, int]]) -> tuple[float, float]:
    """The discount and strength of the Pitman-Yor law under which the observed answers are most likely, on a grid."""
    partitions = Counter(tuple(sorted(seen.values())) for seen in problems if sum(seen.values()) > 1)
    if not partitions:
        return 0.0, 1.0

    def fit(law: tuple[float, float]) -> float:
        return sum(times * _partition(sizes, *law) for sizes, times in partitions.items())

    grid = [(d, t) for d in (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9) for t in np.geomspace(0.02, 50, 40)]
    return max(grid, key=fit)


def _partition(sizes: Sequence[int], discount: float, strength: float) -> float:
    """The logarithm of a partition's probability (Pitman 1995, the exchangeable partition formula)."""
    n, k = sum(sizes), len(sizes)
    found = sum(np.log(strength + i * discount) for i in range(1, k))
    found -= lgamma(strength + n) - lgamma(strength + 1)
    return float(found + sum(lgamma(size - discount) - lgamma(1 - discount) for size in sizes))


def _means(column: np.ndarray) -> list[float | None]:
    rows = column if column.ndim == 2 else column[:, None]
    return [None if np.isnan(row).all() else float(np.nanmean(row)) for row in rows]
