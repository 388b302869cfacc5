"""Another strategy as a part of a strategy: see `Run.solve`."""

from __future__ import annotations

import re
from collections.abc import Coroutine, Mapping
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import msgspec

from tts.checks import require, shown
from tts.core.addresses import beside
from tts.core.budget import Limits
from tts.core.protocols import Strategy
from tts.core.trials.endings import nothing_came
from tts.core.trials.scope import sampling_of
from tts.errors import BudgetExhausted, DeadlineExceeded, InvalidParameter
from tts.types import Candidate, Problem

if TYPE_CHECKING:
    from tts.core.trials.context import Run

_FILE = re.compile(r"[^=]*?\.py:[^:]+")


async def solve_part(
    run: Run,
    strategy: str | Strategy,
    problem: Problem | str | None,
    limits: str | Limits,
    model: str | None,
    adopt: bool | None,
    params: Mapping[str, Any],
) -> Candidate:
    """See `Run.solve`."""
    trial, scope = run._trial, run._scope
    name, function = _named(run, strategy)
    bounds = Limits.parse(limits) if isinstance(limits, str) else limits
    require(isinstance(bounds, Limits), "limits", "a text such as tokens=2k, or Limits", limits)
    if isinstance(problem, str):
        problem = msgspec.structs.replace(run.problem, prompt=problem)
    sampling_of(trial, model)
    part_scope = scope.part(name, problem or run.problem, bounds, model)
    if part_scope.problem.id == scope.problem.id:
        trial._parts.setdefault(scope, []).append(part_scope)
    part = type(run)(trial, part_scope)
    try:
        if bounds.seconds is None:
            picked = await _begun(name, function, part, params)
        else:
            part_scope.ends_s = run.now_s + bounds.seconds
            async with run.deadline(bounds.seconds):
                picked = await _begun(name, function, part, params)
    except (Exception, BaseExceptionGroup) as error:
        late = isinstance(error, DeadlineExceeded) and part_scope.ends_s is not None and run.now_s >= part_scope.ends_s
        if not (late or nothing_came(error)):
            raise
        fallen = part_scope.pick(trial._parts)
        if fallen is None and late:
            raise BudgetExhausted(
                f"{trial.id}, its part {name}: the budget of {bounds.seconds:g} s has passed",
                limit="seconds",
                trial=trial.id,
            ) from None
        if fallen is None:
            raise
        picked = fallen
    if not isinstance(picked, Candidate):
        raise trial._mistakes.no_candidate(picked, by=f"the part {name} of ")
    if adopt or (adopt is None and part.problem.id == run.problem.id):
        scope.candidates[picked.id] = picked
    return picked


def _begun(name: str, function: Strategy, part: Run, params: Mapping[str, Any]) -> Coroutine[Any, Any, Candidate]:
    """The part's coroutine. Raises: InvalidParameter for what is no strategy, or has no such parameters."""
    if params and callable(function):
        try:
            signature(function).bind(part.problem, part, **params)
        except TypeError as error:
            raise InvalidParameter(f"the part {name} cannot be called so: {error}", strategy=name) from None
    begun = function(part.problem, part, **params) if callable(function) else None
    if not isinstance(begun, Coroutine):
        raise InvalidParameter(
            f"a part must be the text of a strategy, or an `async def {name}(problem, run)`, but got {shown(function)}",
            strategy=name,
        )
    return begun


def _named(run: Run, strategy: str | Strategy) -> tuple[str, Strategy]:
    """The strategy and its name: a text that no user has given begins in the file of the strategy that says it."""
    if not isinstance(strategy, str):
        function = strategy.func if isinstance(strategy, partial) else strategy
        return getattr(function, "__name__", type(function).__name__), strategy
    found = run._trial._named.get(strategy)
    if found is None:
        found = run._trial._named[strategy] = run._trial._resolve(_seen_from_here(run, strategy))
    return strategy, found


def _seen_from_here(run: Run, text: str) -> str:
    if text.startswith(":"):
        return run._owner() + text
    if (file := _FILE.match(text)) and text not in run._trial.spec.params.values():
        return beside(run._owner(), file[0]) + text[file.end() :]
    return text
