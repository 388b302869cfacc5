"""What the name of a model stands for: the model itself, an alias, or `STRATEGY:PARAM=VALUE@MODEL`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tts.api.arguments import as_limits, as_spec
from tts.api.serving.allocation import as_allocation
from tts.core.budget import Limits
from tts.errors import InvalidParameter, TTSError, unknown_name
from tts.plugins.names import EQUAL, built_in, names
from tts.plugins.spec import split_spec
from tts.serve.protocol.fields import APPROACHES, Wanted, wanted_of
from tts.serve.protocol.refusals import Refusal
from tts.types import Value

# Only who starts the server may name files and modules: a name from a request would have it import them.
_OUTSIDE = re.compile(r"[:/\\]|\.py\b|\bfile\s*=")
MOST_SAMPLES = 10_000  # that a request may ask for at once: a million would hold up all others for a minute
_LARGE = re.compile(r"[0-9][0-9_]{4}")


class Chosen(Value, frozen=True):
    """What a request runs: a strategy, the limits of the request, whether its stream has events with types, and the
    allocator, if it names one."""

    strategy: str
    limits: Limits
    events: bool = False
    allocator: str | None = None


class Catalogue:
    """The names under which the server can be asked.

    Args:
        model: the name of the model that answers.
        default: what runs where a request says nothing; its budget holds for every quantity that a request's does not
            name.
        aliases: name -> what it stands for.
    """

    def __init__(self, model: str, default: Wanted, aliases: Mapping[str, Wanted] = {}) -> None:
        self.model = model
        self._default = default
        self._aliases = aliases
        if model in aliases:
            raise InvalidParameter(
                f"the alias {model!r} is the name of the model itself: choose another", name="aliases"
            )

    @property
    def listed(self) -> list[str]:
        """The names to choose from, of strategies without their parameters."""
        return [self.model, *self._aliases, *(f"{name}@{self.model}" for name in names("strategies"))]

    def chosen(self, model: str | None, wanted: Wanted) -> Chosen:
        """What to run for a request: what it says itself (`wanted`), then what its model's name says, then the default.

        Raises: Refusal, UnknownName, InvalidParameter.
        """
        if wanted.strategy is not None:
            _check_inside(wanted.strategy)
        if wanted.allocator is not None:
            _check_known(wanted.allocator)
        named = self._named(model)
        both = wanted.over(named).over(self._default)
        limits = self._default_limits
        for text in (named.budget, wanted.budget):
            limits = _merged(limits, _limits(text or ""))
        ends = [s for s in (both.deadline_s, limits.seconds) if s is not None]
        assert both.strategy is not None, "the default has a strategy"
        limits = _merged(limits, Limits(seconds=min(ends, default=None)))
        return Chosen(both.strategy, limits, bool(both.events), both.allocator)

    def _named(self, model: str | None) -> Wanted:
        if model is None or model == self.model:
            return Wanted()
        if (alias := self._aliases.get(model)) is not None:
            return alias
        strategy, at, name = model.rpartition("@")
        if at and name == self.model:
            _check_inside(strategy)
            return Wanted(strategy)
        approach, _, name = model.partition("-")  # as optillm's clients name it
        if approach in APPROACHES and name == self.model:
            return Wanted(APPROACHES[approach])
        known = [self.model, *self._aliases]
        raise unknown_name("model", model, [*known, f"STRATEGY:PARAM=VALUE@{self.model}"])

    @property
    def _default_limits(self) -> Limits:
        return as_limits(self._default.budget or "")


def _limits(text: str) -> Limits:
    try:
        return as_limits(text)
    except TTSError as error:
        raise Refusal(400, error.message, param="tts.budget") from None


def _merged(base: Limits, over: Limits) -> Limits:
    pairs = {name: (getattr(over, name), getattr(base, name)) for name in Limits.__struct_fields__}
    return Limits(**{name: old if new is None else new for name, (new, old) in pairs.items()})


def _check_inside(strategy: str) -> None:
    """Refuse a strategy of a request that is none of the library's or of the installed plugins', or asks for too many
    samples at once."""
    name, _, params = strategy.partition(":")
    if name.strip() not in built_in("strategies") and name.strip() not in names("strategies"):
        raise unknown_name("strategy", name, names("strategies"))
    if _OUTSIDE.search(params):
        raise Refusal(
            400,
            f"the strategy {strategy!r} names a file, a module or a part with parameters: only an alias of the server "
            f"(--aliases) may",
            param="tts.strategy",
        )
    if _LARGE.search(params):
        n = as_spec(strategy, None)[0].params.get("n")
        if type(n) is int and n > MOST_SAMPLES:
            message = f"n of a request's strategy may be {MOST_SAMPLES:,}, but is {n:,}: ask in several requests"
            raise Refusal(400, message, param="tts.strategy")


def _check_known(allocator: str) -> None:
    """Refuse an allocator of a request that is none of the library's or of the installed plugins'."""
    known = [EQUAL, *names("allocators")]
    name = allocator.partition(":")[0].strip()
    if name not in known:
        raise unknown_name("allocator", name, known)


def read_aliases(path: Path | None) -> dict[str, Wanted]:
    """Read a YAML file of aliases: name -> a strategy, or a mapping with the fields of `Wanted`.

    Raises: InvalidParameter, UnknownName.
    """
    return (
        {}
        if path is None
        else {str(name): _alias(name, given, path) for name, given in read_yaml(path, "aliases").items()}
    )


def _alias(name: object, given: object, path: Path) -> Wanted:
    where = f"the alias {name} in {path}"
    try:
        wanted = wanted_of({"strategy": given} if isinstance(given, str) else given, f"{where}.")
        as_limits(wanted.budget or "")
        if wanted.strategy is not None:
            split_spec(wanted.strategy, "strategy")
            as_spec(wanted.strategy, None)
        as_allocation(wanted.allocator)
    except Refusal as refusal:
        raise InvalidParameter(refusal.message, name="aliases") from None
    except TTSError as error:
        raise InvalidParameter(f"{where}: {error.message}", name="aliases") from None
    return wanted


def read_yaml(path: Path, option: str) -> Mapping[Any, Any]:
    """The mapping that an option's YAML file holds. Raises: InvalidParameter."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidParameter(f"{option} {path} cannot be read: {error.strerror or error}", name=option) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidParameter(f"{option} {path} is no YAML: {' '.join(str(error).split())}", name=option) from None
    if not isinstance(found, Mapping):
        kind = type(found).__name__
        raise InvalidParameter(f"{option} {path} must hold a mapping of names, but holds a {kind}", name=option)
    return found
