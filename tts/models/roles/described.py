"""Descriptions of roles as users write them: in a file, a mapping, texts, or a target's own words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from tts.core.actions import SOLVER
from tts.errors import InvalidParameter, unknown_name
from tts.models.function import asked_name
from tts.models.options import Target
from tts.models.prices import Price, price_from_flags
from tts.models.roles.providers import split_provider
from tts.models.roles.role import JUDGE
from tts.types import Sampling, Value

_NAME = re.compile(r"[A-Za-z][\w-]*")
_AT = re.compile(r"(?P<model>.*?)@(?P<url>https?://.*)")
_OWN_WORDS = {  # field of a description -> key of a target
    SOLVER: {name: name for name in ("model", "base_url", "api_key", "headers", "api", "price_in", "price_out",
                                 "model_config")},
    JUDGE: {
        name: f"verifier_{name}" for name in ("model", "base_url", "api_key", "price_in", "price_out")
    },
}  # fmt: skip
_UNSAID: tuple[Any, ...] = (None, "", (), [], {})


class Described(Value, frozen=True):
    """A role as its user describes it. Fields as keys of `tts.models.options.Target` and of `ModelRole`; `api_key` is
    one for all endpoints, or one for each, and `$NAME` is that variable of the environment."""

    model: Any = None
    base_url: str | tuple[str, ...] = ()
    api_key: str | tuple[str, ...] | None = None
    headers: Mapping[str, str] = {}
    api: Literal["chat", "completions"] | None = None
    price_in: float | None = None
    price_out: float | None = None
    model_config: str | None = None
    context_tokens: int | None = None
    sampling: Mapping[str, Any] = {}

    @property
    def name(self) -> str | None:
        """The model's name at its servers, as far as it is given."""
        name = asked_name(self.model)
        return name if name is None or self.urls else split_provider(name)[1]

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url

    @property
    def price(self) -> Price | None:
        return price_from_flags(self.price_in, self.price_out)


def described(target: Target) -> dict[str, Described]:
    """The roles of a target, the solver first. Raises: InvalidParameter, UnknownName."""
    found = dict(_listed(target.get("models")))
    found |= _from_texts(target.get("model_for") or ())
    for name, words in _OWN_WORDS.items():
        given = {field: value for field, key in words.items() if (value := target.get(key)) not in _UNSAID}
        says = [words[field] for field in given if field not in ("api_key", "headers", "api")]
        if name in found and says:
            raise InvalidParameter(
                f"the {name} is described twice, by {says[0]} and by models: leave out one of the two", name=says[0]
            )
        if name not in found and (says or name == SOLVER):
            found[name] = Described(**{field: _plain(value) for field, value in given.items()})
    return {SOLVER: found.pop(SOLVER), **found}


def _listed(given: Any) -> Iterator[tuple[str, Described]]:
    """The roles of a file or a mapping."""
    source = "models"
    if isinstance(given, str | Path):
        source, given = f"the file {given}", _read(Path(given))
    for name, role in (given or {}).items():
        yield _named(name), _role(f"{source}: the role {name}", role)


def _from_texts(texts: Iterable[str]) -> dict[str, Described]:
    """The roles of texts such as `judge=NAME@URL`; a role that is named again has one endpoint more."""
    found: dict[str, Described] = {}
    for text in texts:
        name, equals, model = text.partition("=")
        if not (equals and model):
            raise InvalidParameter(
                f"a model for a role must be ROLE=NAME@URL or ROLE=PROVIDER:NAME, but got {text!r}", name="model_for"
            )
        role = _of_text(model)
        if (before := found.get(_named(name))) is not None:
            if before.model != role.model or not (before.urls and role.urls):
                raise InvalidParameter(
                    f"the role {name} is given two models, {before.model} and {role.model}: a second --model-for of a "
                    f"role names the same model at another URL",
                    name="model_for",
                )
            role = msgspec.structs.replace(before, base_url=before.urls + role.urls)
        found[name] = role
    return found


def _role(where: str, given: Any) -> Described:
    if isinstance(given, str) or callable(given):
        return _of_text(given) if isinstance(given, str) else Described(model=given)
    if not isinstance(given, Mapping):
        raise InvalidParameter(f"{where} must be a text or names and values, but is {given!r}", name="models")
    for field in given:
        if field not in Described.__struct_fields__:
            raise unknown_name(f"field of a role ({where})", str(field), Described.__struct_fields__)
    plain = {field: _plain(value) for field, value in given.items() if value is not None}
    try:
        role = msgspec.convert(plain, Described)
        role.price  # noqa: B018  # checked with the rest
        if role.context_tokens is not None and role.context_tokens < 1:
            raise InvalidParameter(f"context_tokens must be at least 1, but got {role.context_tokens}")
        return msgspec.structs.replace(role, sampling=_sampling(role.sampling))
    except (msgspec.ValidationError, InvalidParameter) as error:
        raise InvalidParameter(f"{where}: {error}", name="models") from None


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a role's sampling, checked."""
    for field in given:
        if field not in Sampling.__struct_fields__:
            raise unknown_name("field of sampling", field, Sampling.__struct_fields__)
    checked = Sampling(**given)
    return {field: getattr(checked, field) for field in given}


def _of_text(text: str) -> Described:
    """`NAME@URL`; or a model's name alone, with its provider's in front or not."""
    match = _AT.fullmatch(text.strip())
    if match is None:
        return Described(model=text.strip())
    return Described(model=match["model"] or None, base_url=match["url"])


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return tuple(value) if isinstance(value, list) else value


def _named(name: object) -> str:
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise InvalidParameter(
            f"a role's name must be letters, digits, _ and -, the first one a letter, but got {name!r}", name="models"
        )
    return name


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidParameter(f"the file of models {path} cannot be read: {error}", path=str(path)) from None
    if not isinstance(found, dict):
        raise InvalidParameter(
            f"the file of models {path} must hold roles, such as `judge: openai:gpt-5-mini`, but holds "
            f"{type(found).__name__}",
            path=str(path),
        )
    return found
