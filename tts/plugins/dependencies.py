"""Dependencies of specs beyond their strategies: the verifiers that their parameters name, and the code of plugins.

A parameter of a strategy names another strategy, its part, if it is called `strategy` or `..._strategy`, or if its
default is the name of one, with or without parameters. A parameter names a verifier if it is called `verifier` or
`..._verifier`, or if its default is the name of one; several, joined by `+`, if it is called `verifiers` or
`..._verifiers`. In a default, `:MyVerifier` is of the strategy's own file, and a
relative path begins in that file's folder; what a user writes begins where the user stands, but for `:MyVerifier`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tts.core.addresses import call_of, canonical, owner_of
from tts.core.protocols import Strategy, Verifier
from tts.errors import InvalidParameter, TTSError, unknown_model
from tts.plugins.names import ALLOCATIONS, FUNCTIONS, allocator, built_in, strategy, verifier_named
from tts.plugins.parts import Verifiers
from tts.plugins.signatures import Parameter, parameters, says_strategy, says_verifier
from tts.plugins.sources import digest_of, digests
from tts.plugins.spec import parse_specs
from tts.plugins.verifier_parameters import bare, verifiers_in
from tts.plugins.verifiers import parameters_of, verifier
from tts.types import StrategySpec


def plugin_digests(
    specs: Iterable[StrategySpec],
    allocators: Iterable[StrategySpec] = (),
    resolve: Callable[[str], Strategy] | None = None,
) -> dict[str, str]:
    """File -> a short hash of its source, for the strategies, verifiers and allocators that are named by file, defaults
    included, and for the files beside them that they import; name -> that of a strategy that was given as a function,
    `allocator NAME` -> that of an allocator.

    Args:
        resolve: finds a strategy that one call was given; None: by its name.

    Raises: InvalidParameter for a file that is not there.
    """
    specs, allocators = [*with_parts(specs, resolve or strategy)], list(allocators)
    names = [
        *(spec.name for spec in (*specs, *allocators)),
        *map(bare, _with_inner(verifier_names(specs, resolve or strategy))),
    ]
    files = {name.rpartition(":")[0] for name in names if ".py:" in name}
    given = FUNCTIONS.get()
    found = {name: digest_of(given[name]) for name in names if name in given}
    by_module: dict[str, Callable[..., Any]] = {
        spec.name: (resolve or strategy)(spec.name) for spec in specs if ":" in spec.name
    }
    by_module |= {spec.name: allocator(spec.name) for spec in allocators if ":" in spec.name}
    found |= {name: digest_of(function) for name, function in by_module.items() if ".py:" not in name}
    made = ALLOCATIONS.get()
    found |= {f"allocator {spec.name}": digest_of(made[spec.name]) for spec in allocators if spec.name in made}
    if resolve is not None and resolve is not strategy:
        found |= {spec.name: digest_of(resolve(spec.name)) for spec in specs if spec.name not in built_in("strategies")}
    for file in sorted(files):
        found |= digests(file)
    return found


def verifiers_of(
    specs: Iterable[StrategySpec], model: str | None = None, resolve: Callable[[str], Strategy] = strategy
) -> dict[str, Verifier]:
    """The verifiers that these specs and their parts name, defaults included, and those that these verifiers name.
    Raises as `verifier`."""
    names = _with_inner(verifier_names(specs, resolve))
    return Verifiers({name: verifier(name, model) for name in names}, model)


def with_parts(
    specs: Iterable[StrategySpec], resolve: Callable[[str], Strategy] = strategy, around: tuple[str, ...] = ()
) -> Iterator[StrategySpec]:
    """Add to each spec those of the strategies that its parameters name as its parts.

    Raises: UnknownName for a part; InvalidParameter for strategies that are parts of one another without end.
    """
    for spec in specs:
        chain = (*around, str(spec))
        if chain[-1] in around:
            raise InvalidParameter(
                f"the strategies {' > '.join(chain)} are parts of one another without end: name another strategy in "
                f"one of these parameters",
                strategy=chain[0],
            )
        yield spec
        function = resolve(spec.name)
        owner = owner_of(spec.name, function)
        for parameter in parameters(function):
            text = spec.params.get(parameter.name, parameter.default)
            if isinstance(text, str) and text and _names_part(parameter):
                yield from with_parts(parse_specs(owner + text if text.startswith(":") else text), resolve, chain)


def verifier_names(specs: Iterable[StrategySpec], resolve: Callable[[str], Strategy] = strategy) -> Iterator[str]:
    """The verifiers that these specs name, defaults included, with whole addresses. A value given for a parameter that
    only its default shows to be one for verifiers counts if there is such a verifier."""
    for spec in with_parts(specs, resolve):
        function = resolve(spec.name)
        owner = owner_of(spec.name, function)
        for parameter in parameters(function):
            yield from map(canonical, verifiers_in(parameter, spec.params, owner))


def _with_inner(names: Iterable[str]) -> list[str]:
    """Add to these verifiers those that their parameters name. Each once."""
    found = [*dict.fromkeys(names)]
    for name in found:  # which grows meanwhile
        try:
            known = parameters_of(bare(name), verifier_named(bare(name)))
        except TTSError:  # a recorded score; who makes the verifier says what is wrong
            continue
        owner, given = bare(name).rpartition(":")[0], call_of(name)[1]
        inner = [canonical(each) for parameter in known.values() for each in verifiers_in(parameter, given, owner)]
        found += [each for each in dict.fromkeys(inner) if each not in found]
    return found


def check_models(
    specs: Iterable[StrategySpec], names: Iterable[str], resolve: Callable[[str], Strategy] = strategy
) -> None:
    """Refuse a model that the run does not have: the value of a parameter called `model`, `..._model`, `small` or
    `large`, and each of `models`, which are joined by `+`; in these specs and their parts. Raises: UnknownName."""
    known = list(names)
    for spec in with_parts(specs, resolve):
        for parameter in parameters(resolve(spec.name)):
            value = spec.params.get(parameter.name, parameter.default)
            if not _names_model(parameter) or not isinstance(value, str) or not value:
                continue
            for name in value.split("+") if parameter.name == "models" else [value]:
                if name not in known:
                    raise unknown_model(name, known, f"{spec.name}: {parameter.name}: ")


def _names_model(parameter: Parameter) -> bool:
    return parameter.name in ("model", "models", "small", "large") or parameter.name.endswith("_model")


def _names_part(parameter: Parameter) -> bool:
    """Whether a parameter names a strategy: its name says so, or its default is one of this library's, and no verifier
    of that name: `majority_vote:n=3`."""
    default, strategies = parameter.default, built_in("strategies")
    if says_strategy(parameter) or says_verifier(parameter) or not isinstance(default, str):
        return says_strategy(parameter)
    name, colon, _ = default.partition(":")
    return name in strategies and (bool(colon) or name not in built_in("verifiers"))
