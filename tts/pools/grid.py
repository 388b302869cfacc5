"""A pool's samples of one model on one benchmark as arrays for estimators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts.errors import BadPool, InvalidParameter, unknown_name
from tts.pools.pool import UNKNOWN, Pool, Unanswered, nobody_can_vote

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grid:
    """Arrays of one model's samples on one benchmark, failures left out: shape (problems, samples), padded at the end.

    Attributes:
        problems: ids; counts: number of samples of each, shape (problems,).
        classes: number of the answer's class in its problem, -1 for no answer and for padding.
        correct: verdicts, False in the padding.
        tokens: of each completion, NaN where they were not recorded; None if they were for no sample.
        usable: whether a sample ended by itself with an answer.
        scores: by name, NaN for an abstention; of several verifications of a sample, the mean of those that spoke.
        asked: by name of a score, whether its verifier was asked about a sample.
        failed: problems that were left out, because every sample of them failed.
        pool: its name; answers: whether it has any.
    """

    problems: tuple[str, ...]
    counts: Ints
    classes: Ints
    correct: NDArray[np.bool_]
    tokens: Floats | None
    usable: NDArray[np.bool_]
    scores: dict[str, Floats]
    asked: dict[str, NDArray[np.bool_]]
    failed: tuple[str, ...] = ()
    pool: str = ""
    answers: bool = True

    @classmethod
    def of(cls, pool: Pool, *, unanswered: Unanswered = "abstain") -> Grid:
        """Make a grid of a pool. `unanswered`: whether samples without an answer abstain, or vote as a class of their
        own.

        Raises: BadPool for several models or benchmarks, ungraded samples, nothing but failures; PoolLacks for a pool
            without answers in which these are to vote.
        """
        pool.one_benchmark()
        if len(pool.model.present) > 1:
            raise BadPool(f"{pool.name} holds {len(pool.model.present)} models; choose one", known=pool.model.present)
        pool.check_graded()
        pool = pool.counting(unanswered)
        every = [(group.problem_id, group.start + np.flatnonzero(pool.sound[group.rows])) for group in pool.groups()]
        failed = tuple(problem for problem, rows in every if not len(rows))
        kept = [(problem, rows) for problem, rows in every if len(rows)]
        if not kept:
            raise BadPool(f"every sample of {pool.name} failed: there is nothing to estimate", problems=failed)
        counts = np.array([len(rows) for _, rows in kept])
        there = np.arange(counts.max()) < counts[:, None]

        def arranged(column: NDArray[Any], padding: float | bool) -> NDArray[Any]:
            found = np.full(there.shape, padding, dtype=column.dtype)
            found[there] = column[np.concatenate([rows for _, rows in kept])]
            return found

        classes = arranged(pool.answer.codes.astype(np.int64), -1)
        for p, n in enumerate(counts):
            classes[p, :n] = np.unique(np.append(-1, classes[p, :n]), return_inverse=True)[1][1:] - 1
        tokens = arranged(np.where(pool.completion_tokens == UNKNOWN, np.nan, pool.completion_tokens), np.nan)
        stopped = [code for code, word in enumerate(pool.finish.table) if word == "stop"]
        ended = arranged(np.isin(pool.finish.codes, [UNKNOWN, *stopped]), False)
        return cls(
            tuple(problem for problem, _ in kept),
            counts,
            classes,
            arranged(pool.correct == 1, False),
            None if np.isnan(tokens).all() else tokens,
            (classes >= 0) & ended,
            {name: arranged(_mean_score(column), np.nan) for name, column in pool.scores.items()},
            {name: arranged(pool.verifications(name) > 0, False) for name in pool.scores},
            failed,
            pool.name,
            bool((classes >= 0).any()),
        )

    @property
    def there(self) -> NDArray[np.bool_]:
        """The mask of samples, False in the padding."""
        return np.arange(self.classes.shape[1]) < self.counts[:, None]

    def score(self, name: str) -> Floats:
        """The scores of this name. Raises: UnknownName."""
        if name not in self.scores:
            raise unknown_name("score", name, self.scores)
        return self.scores[name]

    def check_votes(self) -> None:
        """Check that votes are possible. Raises: PoolLacks if no sample has an answer."""
        if not self.answers:
            raise nobody_can_vote(self.pool)

    def judged(self, score: str) -> Grid:
        """The samples that a verifier was asked about: best-of and weighted votes draw from them.
        Raises: UnknownName."""
        self.score(score)
        return self if (self.asked[score] == self.there).all() else self.only(self.asked[score])

    def only(self, kept: NDArray[np.bool_]) -> Grid:
        """Keep these samples of every problem, which may then have none."""
        order = np.argsort(~(kept & self.there), axis=1, kind="stable")
        counts = (kept & self.there).sum(axis=1)
        order = order[:, : max(1, int(counts.max()))]
        there = np.arange(order.shape[1]) < counts[:, None]

        def taken(column: NDArray[Any], padding: float | bool) -> NDArray[Any]:
            found: NDArray[Any] = np.where(there, np.take_along_axis(column, order, axis=1), padding)
            return found

        return replace(
            self,
            counts=counts,
            classes=taken(self.classes, -1),
            correct=taken(self.correct, False),
            tokens=None if self.tokens is None else taken(self.tokens, np.nan),
            usable=taken(self.usable, False),
            scores={name: taken(column, np.nan) for name, column in self.scores.items()},
            asked={name: taken(column, False) for name, column in self.asked.items()},
        )

    def lengths(self) -> Floats:
        """Tokens of each sample. Raises: BadPool where they were not recorded for all."""
        if self.tokens is None or np.isnan(self.tokens[self.there]).any():
            raise BadPool(f"the tokens of some samples of {self.pool} were not recorded: their cost is unknown")
        return self.tokens

    def check_sizes(self, ks: Sequence[int]) -> Ints:
        """Check sizes. Raises: InvalidParameter for a k below 1, or above some problem's number of samples."""
        fewest = int(self.counts.min())
        for k in ks:
            if not 1 <= k <= fewest:
                where = self.problems[int(self.counts.argmin())]
                raise InvalidParameter(
                    f"k must be from 1 to {fewest} (problem {where} has no more samples), but got {k}"
                )
        return np.asarray(ks, dtype=np.int64)


def _mean_score(column: NDArray[np.float32]) -> Floats:
    if column.ndim == 1:
        return column.astype(np.float64)
    said = ~np.isnan(column)
    number = said.sum(axis=1)
    return np.where(number > 0, np.where(said, column, 0.0).sum(axis=1) / np.maximum(number, 1), np.nan)
