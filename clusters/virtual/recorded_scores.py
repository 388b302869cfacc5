"""Verifiers whose scores were recorded with a pool's samples, at their recorded cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tts.core.actions import Request, trial_of
from tts.core.protocols import Verifier
from tts.errors import CapabilityMissing, PoolLacks
from tts.pools.pool import Pool, VerificationCost
from tts.types import Candidate, Completion, Message, Problem, Sampling, Score, ScoreKind, Usage
from tts.verifiers.confidence.self_certainty import SelfCertainty


class Recorded:
    """Scores that were recorded: a verifier whose answers are known.

    Args:
        name: of the pool's column.
        kind: of its numbers.
        cost: of one verification; None is unknown, and then nothing is charged (`Row.unpriced` counts it).
    """

    candidate_logprobs = 0
    in_worker = False

    def __init__(self, name: str, kind: ScoreKind, cost: VerificationCost | None = None) -> None:
        self.name = name
        self.kind = kind
        self.priced = cost is not None
        self.usage = Usage(round(cost.prompt_tokens), round(cost.tokens)) if cost else Usage()
        self._request: Request | None = None
        if cost and not cost.free:
            prompt = Message("user", " " * self.usage.prompt_tokens)  # of the length of the recorded prompts
            most = max(1, self.usage.completion_tokens, cost.max_tokens or 0)
            self._request = Request((prompt,), Sampling(max_tokens=most))
        self._given: dict[str, dict[str, int]] = {}  # trial -> candidate -> number of its scores handed out

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return self._request

    def read(self, completion: Completion) -> Score:
        raise CapabilityMissing(f"the scores of {self.name} were recorded: there is no reply to read")

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        """The candidate's next score. Raises: PoolLacks when all have been handed out."""
        recorded = candidate.completion.recorded_scores.get(self.name, ())
        recorded = recorded if isinstance(recorded, tuple) else (recorded,)
        given = self._given.setdefault(trial_of(candidate.id), {})
        number = given[candidate.id] = given.get(candidate.id, 0) + 1
        if number > len(recorded):
            raise PoolLacks(
                f"{candidate.id} has {len(recorded)} recorded scores of {self.name}; a replay cannot ask for more",
                recorded=len(recorded),
            )
        return Score(recorded[number - 1], self.name, self.kind)

    def forget(self, trial: str) -> None:
        """Forget a trial, of whose candidates no score will be asked for again."""
        self._given.pop(trial, None)


def recorded_verifiers(pool: Pool) -> dict[str, Verifier]:
    """A verifier for each of the pool's score columns, at its recorded cost, and `self_certainty` where its
    log-probabilities are there."""
    found: dict[str, Verifier] = {
        name: Recorded(name, _kind_of(column), pool.verification_costs.get(name))
        for name, column in pool.scores.items()
    }
    own = SelfCertainty.name
    cost = pool.verification_costs.get(own)
    if (cost is None or cost.free) and not np.isnan(pool.logprobs.get(own, np.array(np.nan))).all():
        found[own] = SelfCertainty()
    return found


def _kind_of(column: NDArray[np.float32]) -> ScoreKind:
    """The kind of recorded scores: numbers from 0 to 1 are probabilities; the meaning of others is unknown."""
    known = column[~np.isnan(column)]
    return "probability" if known.size and known.min() >= 0 and known.max() <= 1 else "scale"
