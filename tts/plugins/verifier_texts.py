"""Texts of verifiers, one for each setting: a run keeps scores by it, and other processes make the verifier from it.

`genrm(max_tokens=064)`, `genrm(max_tokens=64)` and, in a program, `GenRM(max_tokens=64)` are one setting. A parameter
that has its default is left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tts.core.addresses import beside, call_of, called, check_address, is_call
from tts.errors import InvalidParameter, TTSError
from tts.plugins.names import built_in, verifier_named
from tts.plugins.signatures import taken_apart
from tts.plugins.verifiers import Function, has_shape, made, no_model, parameters_of, values_of

_OURS = "tts.verifiers."  # how addresses of this library's verifiers begin


def normal_text(text: str, owner: str = "") -> str:
    """The one text of the verifier that a text names. Where it names none with such parameters, their values stay as
    they are written: the name may be that of a recorded score, and who makes the verifier says what is wrong.

    Args:
        owner: the file or module that `:name` is of.
    """
    if not is_call(text):
        return text
    written, given = call_of(text)
    name = _short(written)
    if not given:
        return name
    try:
        thing = verifier_named(beside(owner, name) if name.startswith(":") else name)
        known, values = parameters_of(name, thing), values_of(name, thing, given)
    except TTSError:
        return called(name, given)
    return called(name, {key: value for key, value in values.items() if not _equal(value, known[key].default)})


def seen_from_anywhere(text: str) -> str:
    """The text of a verifier that a user wrote as a part of another's, with a whole path in place of a relative one."""
    name, params = call_of(text)
    where, _, attribute = name.rpartition(":")
    return called(f"{Path(where).absolute()}:{attribute}", params) if where.endswith(".py") else text


def is_name_alone(value: Any) -> bool:
    """Whether a parameter's value has no text but itself: most have neither brackets nor an address of this library."""
    return not isinstance(value, str) or not ("(" in value or value.startswith(_OURS))


def text_of(given: Any) -> str:
    """The text of a verifier that a program gives: a class, a function, a partial of these with keywords, or an object
    of a class whose arguments are attributes of the same names.

    Raises: InvalidParameter for one that another process could not import, or whose parameters no text can hold;
        UnknownName for a parameter.
    """
    thing: Any
    thing, params = taken_apart(given)
    if isinstance(thing, Function):
        thing, params = thing.function, {**thing.params, **params}
    is_object = has_shape(thing) and not isinstance(thing, type)
    named = type(thing) if is_object else thing
    try:
        name = _short(check_address(named))
    except InvalidParameter:
        raise InvalidParameter(
            f"a verifier must be a class or function at the top level of a file, which other processes can import, an "
            f"object of such a class, or its name, but got {given!r}"
        ) from None
    text = called(name, _arguments(name, thing) if is_object else params)
    if is_object and not _is_made_from(text, thing):
        raise _untold(name, named, given)
    if not is_object and not _holds(text, name, named, params):
        raise InvalidParameter(f"{name} cannot have the parameters {params!r}, which no text can hold", name=name)
    return normal_text(text)


def _short(name: str) -> str:
    """The name of a verifier of this library in the place of its address, `tts.verifiers.generative.genrm:GenRM`."""
    module, _, attribute = name.partition(":")
    if module.startswith(_OURS):
        for short, where in built_in("verifiers").items():
            if where == module and attribute.lower() == short.replace("_", ""):
                return short
    return name


def _arguments(name: str, thing: Any) -> dict[str, Any]:
    """The arguments that an object was made with, as far as it still has them."""
    known = parameters_of(name, type(thing))
    if "model" in inspect.signature(type(thing)).parameters and getattr(thing, "model", None) is not None:
        raise no_model(name)
    return {key: getattr(thing, key) for key in known if hasattr(thing, key)}


def _is_made_from(text: str, thing: Any) -> bool:
    """Whether the object that the text makes is as the given one: its attributes may be anything but its arguments."""
    try:
        again = made(type(thing), text)
        return bool(again == thing) or vars(again) == vars(thing)
    except Exception:  # also of a class's own __eq__
        return False


def _holds(text: str, name: str, thing: Any, params: Mapping[str, Any]) -> bool:
    """Whether the parameters can be read back. Raises: UnknownName; InvalidParameter for a value of another type."""
    if not is_call(text):
        return False
    read, written = call_of(text)
    values = values_of(name, thing, written) if read == name else {}
    return values.keys() == params.keys() and all(_equal(values[key], params[key]) for key in params)


def _equal(one: Any, other: Any) -> bool:
    """Of two plain values; 1 is 1.0, but not True."""
    kinds = {type(one), type(other)}
    return (len(kinds) == 1 or kinds == {int, float}) and bool(one == other)


def _untold(name: str, kind: type, given: Any) -> InvalidParameter:
    example = called(name, dict.fromkeys(parameters_of(name, kind), "..."))
    return InvalidParameter(
        f"the arguments that {given!r} was made with cannot be read from its attributes: give its text, "
        f"{example!r}, or functools.partial({kind.__name__}, ...)",
        name=name,
    )
