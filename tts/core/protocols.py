"""The protocols of a trial's parts: a strategy, verifiers, and a cost model."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from tts.checks import shown
from tts.core.actions import Request, Work
from tts.errors import CallFailed
from tts.types import Candidate, Completion, Cost, Problem, Score, ScoreKind, Usage

if TYPE_CHECKING:
    from tts.core.trials.context import Run


class CostModel(Protocol):
    """Costs of actions: the upper bound before, the actual cost after; and the tokens of the context of the model that
    a request asks, None where they are not known (`tts.models.cost_model.CostModel`)."""

    def upper_bound(self, action: Work) -> Cost: ...
    def actual(self, action: Work, usage: Usage) -> Cost: ...
    def context_tokens(self, request: Request) -> int | None: ...


class AsksModel(Protocol):
    """A verifier that asks a model: `request` gives the question, and `read` understands the reply."""

    def request(self, problem: Problem, candidate: Candidate) -> Request: ...
    def read(self, completion: Completion) -> Score | float | None: ...


class Computes(Protocol):
    """A verifier that computes its score."""

    def score(self, problem: Problem, candidate: Candidate) -> Score | float | None: ...


class Judges(Protocol):
    """A verifier that looks at all candidates together, and may ask models what it likes: pairs, lists, panels."""

    def judge(
        self, problem: Problem, candidates: Sequence[Candidate], run: Run
    ) -> Awaitable[Sequence[Score | float | None]]: ...


# Scores a candidate without the reference answer; None abstains. A class of either shape may have these attributes:
# `kind`, of its scores ("scale" where it has none); `candidate_logprobs`, how many alternatives per token have to be
# recorded with a candidate (0); `in_worker`, whether `score` may be slow or hang, and therefore runs in a process that
# can be killed (False); `reply_logprobs`, whether it reads the log-probabilities of the replies of the model that it
# asks, and has no score without (False): a model that gives none is refused before anything is spent.
Verifier = AsksModel | Computes | Judges


def question_of(verifier: Verifier, problem: Problem, candidate: Candidate) -> Request | None:
    """The verifier's request to a model; None if it computes."""
    request: Request | None = verifier.request(problem, candidate) if hasattr(verifier, "request") else None
    return request


def read_by(verifier: Verifier, completion: Completion) -> object:
    """The score that a verifier reads from a model's reply."""
    return cast(AsksModel, verifier).read(completion)


def computed_by(verifier: Verifier, problem: Problem, candidate: Candidate) -> object:
    """The score of a verifier that computes."""
    return cast(Computes, verifier).score(problem, candidate)


def kind_of(verifier: Verifier) -> ScoreKind:
    """The kind of the verifier's scores."""
    kind: ScoreKind = getattr(verifier, "kind", "scale")
    return kind


def is_in_worker(verifier: Verifier) -> bool:
    """Whether the verifier's `score` runs in a worker process."""
    return bool(getattr(verifier, "in_worker", False))


def logprobs_for(verifier: Verifier) -> int:
    """The number of alternatives per token that the verifier needs recorded with a candidate."""
    return int(getattr(verifier, "candidate_logprobs", 0))


def needs_logprobs(verifier: Verifier) -> bool:
    """Whether the verifier has no score where a model's replies come without log-probabilities."""
    return bool(getattr(verifier, "reply_logprobs", False))


def checked(score: object, name: str, kind: ScoreKind = "scale") -> Score:
    """Turn a verifier's return value into a score under the verifier's name in the run. Raises: CallFailed.

    Args:
        kind: kind of a number that is returned alone.
    """
    if isinstance(score, Score):
        return score if score.verifier == name else msgspec.structs.replace(score, verifier=name)
    if score is None or (hasattr(score, "__float__") and not isinstance(score, str | bytes)):
        return Score(cast("float | None", score), name, kind)
    raise CallFailed(
        f"the verifier {name} returned {shown(score)}, but must return a tts.types.Score, a number, or None to abstain",
        verifier=name,
    )


class Strategy(Protocol):
    """An `async def strategy(problem, run, *, hyper=parameters) -> Candidate`, whatever its hyper-parameters are."""

    # Both with Any: to type checkers, that is any signature.
    def __call__(self, problem: Problem, run: Run, /, *_: Any, **params: Any) -> Coroutine[Any, Any, Candidate]: ...
