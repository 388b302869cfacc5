"""The protocols of a trial's parts: a strategy, verifiers, and a cost model."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from tts.core.actions import Request, Work
from tts.errors import CallFailed
from tts.types import Candidate, Completion, Cost, Problem, Score, ScoreKind, Usage, shown

if TYPE_CHECKING:
    from tts.core.context import Run


class CostModel(Protocol):
    """Costs of actions: the most before, the actual cost after (`tts.models.cost_model.CostModel`)."""

    def upper_bound(self, action: Work) -> Cost: ...
    def actual(self, action: Work, usage: Usage) -> Cost: ...


class Verifier(Protocol):
    """Scores a candidate without the reference answer. Either it asks a model (`request` gives the question and `read`
    understands the reply) or it computes (`request` gives None, and `score` gives the answer).

    `candidate_logprobs`: how many alternatives per token it needs to have been recorded with the candidate.
    `in_worker`: whether `score` may be slow or hang, and therefore runs in a process that can be killed.
    """

    kind: ScoreKind
    candidate_logprobs: int
    in_worker: bool

    def request(self, problem: Problem, candidate: Candidate) -> Request | None: ...
    def read(self, completion: Completion) -> Score: ...
    def score(self, problem: Problem, candidate: Candidate) -> Score: ...


def checked(score: object, verifier: str) -> Score:
    """What a verifier returned, if it is a score. Raises: CallFailed."""
    if isinstance(score, Score):
        return score
    raise CallFailed(
        f"the verifier {verifier} returned {shown(score)}, but must return a tts.types.Score "
        f"(with the value None to abstain)",
        verifier=verifier,
    )


class Strategy(Protocol):
    """An `async def strategy(problem, run, *, hyper=parameters) -> Candidate`, whatever its hyper-parameters are."""

    # Both with Any: to type checkers, that is any signature.
    def __call__(self, problem: Problem, run: Run, /, *_: Any, **params: Any) -> Coroutine[Any, Any, Candidate]: ...
