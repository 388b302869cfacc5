"""Verification: scores of candidates by the verifiers and judges that a strategy names. See `Run.verify`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from tts.checks import shown
from tts.core.actions import Refused, Request, Verify
from tts.core.addresses import beside, canonical
from tts.core.protocols import Judges, Verifier, checked, kind_of, question_of
from tts.core.trials.blocks import Block, at_least_one
from tts.core.trials.coroutines import Mailbox, Wait
from tts.core.trials.endings import MOST_REFUSALS, nothing_came
from tts.core.trials.scope import sampling_of
from tts.core.trials.seeds import once_path, seed_of
from tts.errors import CallFailed, unknown_name
from tts.types import Candidate, Completion, Problem, Score

if TYPE_CHECKING:
    from tts.core.trials.context import Run
    from tts.core.trials.trial import Trial

T = TypeVar("T")


async def verify(run: Run, candidates: Sequence[Candidate], named: str, repeats: int) -> list[Score]:
    """See `Run.verify`."""
    name, verifier = found_verifier(run, named)
    at_least_one("repeats", repeats)
    if hasattr(verifier, "judge"):
        given = [await _judge(run, candidates, name, cast(Judges, verifier)) for _ in range(repeats)]
        return [_mean([scores[i] for scores in given if scores], name, verifier) for i in range(len(candidates))]
    await _score(run, candidates, name, verifier, repeats)
    return [mean_of(run, candidate, name, verifier) for candidate in candidates]


async def _score(run: Run, candidates: Sequence[Candidate], name: str, verifier: Verifier, repeats: int) -> None:
    trial = run._trial
    async with Block(run) as block:
        for candidate in candidates:
            request = request_of(name, verifier, run.problem, candidate)
            if request is not None:
                sampling_of(trial, request.model)
            for _ in range(repeats):
                block.ask(_verification(run, name, candidate, request))
        refused = [event.error for event, _ in await block.rest() if isinstance(event, Refused)]
    trial.unverified += len(refused)
    unpriced = next((error for error in refused if error.type != "BudgetExhausted"), None)
    if unpriced is not None:
        raise unpriced.rebuild()
    if refused:
        trial._current.turned_down(refused[0])
        _check_endless(run)


async def _judge(run: Run, candidates: Sequence[Candidate], name: str, judge: Judges) -> list[Score]:
    """The scores of a judge that looks at all candidates together; none where its budget held no more, or all it asked
    for failed."""
    trial, part = run._trial, type(run)(run._trial, run._scope.helper(getattr(judge, "model", None)))
    before = trial._current.refusals
    scores = None
    try:
        scores = list(await _judgement(trial, name, partial(judge.judge, run.problem, list(candidates), part)))
    except (Exception, BaseExceptionGroup) as error:
        if not nothing_came(error):
            raise
    if scores is not None and len(scores) != len(candidates):
        raise CallFailed(
            f"the judge {name} must return one score a candidate, {len(candidates)}, but returned {shown(scores)}",
            verifier=name,
        )
    found = [checked(score, name, kind_of(judge)) for score in scores or ()]
    for candidate, score in zip(candidates, found, strict=scores is not None):
        trial._books.add_score(run._scope, candidate, score)
    if scores is None:
        trial.unverified += len(candidates)
    elif trial._current.refusals > before:
        trial.unverified += sum(score.value is None for score in found)
    if trial._current.refusals > before:
        trial._current.refusals = before + 1  # however many questions there were about these candidates
        _check_endless(run)
    return found


async def _judgement(trial: Trial, name: str, judging: Callable[[], Awaitable[T]]) -> T:
    """What a judge returns. Its samples have their keys by the number of its call instead of the chain's place, which
    depends on how many samples the strategy has asked for: those of another `n` are judged by the same samples."""

    async def awaited() -> T:
        return await judging()

    mailbox = Mailbox()
    path = once_path(trial._share_keys.next(f"judge {name}", trial._current.keys))
    (task,) = trial._spawn([awaited()], mailbox, path)
    try:
        await Wait(mailbox)
    finally:
        mailbox.closed = True
        trial._abandon(task)
    if task.error is not None:
        raise task.error
    value: T = task.value
    return value


def _check_endless(run: Run) -> None:
    """Raises: BudgetExhausted for a strategy that has verified on and on after its budget was spent."""
    task = run._trial._current
    if task.refusal is not None and task.refusals > MOST_REFUSALS:
        raise task.refusal.rebuild()


def found_verifier(run: Run, verifier: str) -> tuple[str, Verifier]:
    """The verifier's name in the run, and the verifier: an address that no user has given begins in the strategy's
    file. Raises: UnknownName."""
    trial = run._trial
    if ":" in verifier and (verifier.startswith(":") or verifier not in trial.spec.params.values()):
        verifier = beside(run._owner(), verifier)
    verifier = canonical(verifier)
    try:
        return verifier, trial._verifiers[verifier]
    except KeyError:
        raise unknown_name("verifier", verifier, trial._verifiers) from None


def mean_of(run: Run, candidate: Candidate, name: str, verifier: Verifier) -> Score:
    """The mean of the scores that the verifier has given in this scope, abstentions left out (none left: None)."""
    return _mean([s for s in run._scope.scores.get(candidate.id, ()) if s.verifier == name], name, verifier)


def _mean(found: Sequence[Score], name: str, verifier: Verifier) -> Score:
    """The mean of several; a score that is alone as it is, with its steps and its text."""
    if len(found) == 1:
        return found[0]
    values = [s.value for s in found if s.value is not None]
    masses = [s.mass for s in found if s.mass is not None]
    return Score(
        value=sum(values) / len(values) if values else None,
        verifier=name,
        kind=kind_of(verifier) if hasattr(verifier, "kind") or not found else found[0].kind,
        mass=sum(masses) / len(masses) if masses else None,
        verdicts=sum(s.verdicts for s in found),
        unread=sum(s.unread for s in found),
    )


def asks_a_model(run: Run, named: str) -> bool:
    """See `Run.asks_a_model`."""
    name, verifier = found_verifier(run, named)
    if hasattr(verifier, "judge"):
        return True
    return request_of(name, verifier, run.problem, Candidate("", "", None, Completion(""))) is not None


def _verification(run: Run, verifier: str, candidate: Candidate, request: Request | None) -> Verify:
    trial = run._trial
    id = trial._next_id()
    share = None
    if candidate.id in trial._share_keys.of:
        base = trial._share_keys.of[candidate.id]
        if run.problem != trial._books.problem_of(candidate.id):  # what is judged is more than the candidate
            base = blake2b(repr((base, run.problem)).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
        share = trial._share_keys.next(f"{base}/{verifier}", trial._current.keys)
    if request is not None and trial._keyed:
        request = msgspec.structs.replace(request, seed=seed_of(share) if share else trial._seed_of(id))
    return Verify(id, verifier, run.problem, candidate, request, share)


def request_of(name: str, verifier: Verifier, problem: Problem, candidate: Candidate) -> Request | None:
    """The verifier's request to a model. An exception in making it is the verifier's error, not the strategy's."""
    try:
        request = question_of(verifier, problem, candidate)
    except Exception as error:
        raise CallFailed(
            f"the verifier {name} raised {type(error).__name__} in request(): {error}", verifier=name
        ) from error
    if request is not None and not isinstance(request, Request):
        message = (
            f"request() of the verifier {name} must return a tts.core.actions.Request or None, but returned {request!r}"
        )
        raise CallFailed(message, verifier=name)
    if request is not None and not request.messages:
        raise CallFailed(f"request() of the verifier {name} returned a Request without messages", verifier=name)
    return request
