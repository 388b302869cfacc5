"""Makes verifiers: the class or function of a name, with its parameters: `genrm(max_tokens=1024)`, `file.py:mine(n=3)`.

The text is all that another process needs to make the same verifier again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tts.core.addresses import address_of, call_of
from tts.core.protocols import Verifier
from tts.errors import InvalidParameter, TTSError
from tts.plugins.names import verifier_named
from tts.plugins.signatures import Parameter, StrategyInfo, described, parameters, unknown_parameter
from tts.plugins.values import convert
from tts.types import Candidate, Problem

if TYPE_CHECKING:
    from tts.core.trials.context import Run


class Function:
    """A function of a problem and a candidate as a verifier; its attributes `kind`, `in_worker` and
    `candidate_logprobs` count, where it has them."""

    def __init__(self, function: Callable[..., Any], params: Mapping[str, Any]) -> None:
        self.function = function
        self.params = dict(params)
        self.kind = getattr(function, "kind", "scale")
        self.in_worker = getattr(function, "in_worker", False)
        self.candidate_logprobs = getattr(function, "candidate_logprobs", 0)

    def score(self, problem: Problem, candidate: Candidate) -> Any:
        return self.function(problem, candidate, **self.params)


class Judge:
    """An `async def judge(problem, candidates, run)` as a verifier; its attribute `kind` counts, where it has one.

    Args:
        model: the model that it asks where it names none.
    """

    def __init__(self, function: Callable[..., Any], params: Mapping[str, Any], model: str | None) -> None:
        self.function = function
        self.model = model
        self.kind = getattr(function, "kind", "scale")
        self._params = dict(params)

    def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> Any:
        return self.function(problem, candidates, run, **self._params)


def verifier(text: str, model: str | None = None) -> Verifier:
    """A new verifier of that name, with the parameters that the text gives; one that asks a model asks `model`.

    Raises: UnknownName for the verifier or a parameter; InvalidParameter for a class or function that cannot be used,
        or a value of the wrong type.
    """
    return made(verifier_named(call_of(text)[0]), text, model)


def made(thing: Any, text: str, model: str | None = None) -> Verifier:
    """As `verifier`, of the class or function that the text names."""
    name, given = call_of(text)
    if not isinstance(thing, type):
        _check_function(name, thing)
    params = values_of(name, thing, given)
    if inspect.iscoroutinefunction(thing):
        return Judge(thing, params, model)
    if not isinstance(thing, type):
        return Function(thing, params)
    try:
        if "model" in inspect.signature(thing).parameters:
            params["model"] = model
        found: Any = thing(**params)
    except TTSError as error:
        raise InvalidParameter(f"the verifier {text} cannot be made: {error.message}", name=name) from error
    except Exception as error:
        raise InvalidParameter(f"the verifier {text} cannot be made: {type(error).__name__}: {error}") from error
    if not has_shape(found):
        raise InvalidParameter(
            f"the verifier {name} has no score(problem, candidate), and no request(problem, candidate) with "
            f"read(completion) either: see tts.core.protocols.Verifier",
            name=name,
        )
    for method in ("score", "request", "read"):
        if inspect.iscoroutinefunction(getattr(found, method, None)):
            raise InvalidParameter(
                f"{method} of the verifier {name} must be a function without await, but is an `async def`; what asks "
                f"models is a judge, `async def judge(problem, candidates, run)`",
                name=name,
            )
    verifier: Verifier = found
    return verifier


def describe_verifier(name: str) -> StrategyInfo:
    """Summary, paper and parameters of a verifier; not `model`, which a run sets. Raises as `verifier`."""
    thing = verifier_named(name)
    if not isinstance(thing, type):
        _check_function(name, thing)
    parameters_of(name, thing)
    return described(name, thing, "verifier", but="model")


def has_shape(thing: Any) -> bool:
    """Whether it has the methods of a verifier: `score`, or `request` with `read`."""
    return hasattr(thing, "score") or hasattr(thing, "judge") or (hasattr(thing, "request") and hasattr(thing, "read"))


def verifier_address(verifier: Verifier) -> str:
    """Where a worker process finds the class or function that the verifier was made of."""
    return address_of(verifier.function if isinstance(verifier, Function | Judge) else type(verifier))


def parameters_of(name: str, thing: Any) -> dict[str, Parameter]:
    """The parameters of a verifier's class or function, by name; not `model`, which a run sets.

    Raises: InvalidParameter for a signature that cannot be read, or a parameter without a default.
    """
    try:
        found = parameters(thing, f"the verifier {name}", but="model")
    except (TypeError, ValueError):
        raise InvalidParameter(f"the verifier {name} has no signature that can be read", name=name) from None
    return {p.name: p for p in found}


def values_of(name: str, thing: Any, given: Mapping[str, str]) -> dict[str, Any]:
    """The values of parameters, of their types. Raises as `verifier`."""
    known = parameters_of(name, thing)
    if "model" in given:
        raise no_model(name)
    for key in given:
        if key not in known:
            raise unknown_parameter(name, key, known, thing)
    return {key: convert(name, known[key], value) for key, value in given.items()}


def no_model(name: str) -> InvalidParameter:
    """The error of a verifier that is to ask a model of its own."""
    return InvalidParameter(
        f"{name}: model cannot be set here: verifier_model names what verifies for the whole run", name=name
    )


def _check_function(name: str, thing: Any) -> None:
    """Raises: InvalidParameter for what cannot be called with a problem and a candidate, or has to be awaited and
    cannot be called with a problem, candidates and a run."""
    positional = (None,) * (3 if inspect.iscoroutinefunction(thing) else 2)
    try:
        signature = inspect.signature(thing)
        named = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        signature.bind(*positional, **dict.fromkeys(named))
    except (TypeError, ValueError):
        fits = False
    else:
        fits = hasattr(thing, "__qualname__")
    if not fits:
        raise InvalidParameter(
            f"the verifier {name} must be a class, or a function `(problem, candidate, *, limit=10)` that needs no "
            f"await, or a judge `async def judge(problem, candidates, run, *, limit=10)`, but is {thing!r}",
            name=name,
        )
