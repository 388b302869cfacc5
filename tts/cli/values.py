"""Values of options that several commands have, checked. Each function raises InvalidParameter."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from tts.types import Sampling


def arguments_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run (`options.RUN`) as arguments of `tts.solve`, `tts.sweep` and `tts.plan`."""
    from tts.cli.options import SAMPLING

    found = {name: value for name, value in options.items() if name not in SAMPLING}
    found["sampling"] = sampling_of({name: options[name] for name in SAMPLING})
    found["headers"] = headers_of(found["headers"])
    return {**found, "api": api_of(found["api"]), "cancellation": cancellation_of(found["cancellation"])}


def seeds_of(text: str) -> int | list[int]:
    """The value of --seeds: a number of seeds, or a list of them."""
    from tts.errors import InvalidParameter

    try:
        return [int(part) for part in text.split(",") if part.strip()] if "," in text else int(text)
    except ValueError:
        raise InvalidParameter(
            f"--seeds must be a whole number, or a list of them (0,4,7), but got {text!r}", name="seeds"
        ) from None


def sampling_of(options: Mapping[str, Any]) -> Sampling:
    """The options of sampling as one value; `\\n` in a stop string is a new line."""
    from tts.types import Sampling

    stops = tuple(text.replace("\\n", "\n") for text in options["stop"] or ())
    objects = {name: json_of(name, options[name]) for name in ("chat_template_kwargs", "extra_body")}
    return Sampling(**{**options, **objects, "stop": stops})


def json_of(name: str, text: str | None) -> Any:
    """The value of an option that takes a JSON object; an empty one where it is not given."""
    from tts.errors import InvalidParameter

    try:
        return {} if text is None else json.loads(text)
    except ValueError as error:
        raise InvalidParameter(
            f"{name} must be a JSON object such as '{{\"key\": 1}}', but got {text!r}: {error}", name=name
        ) from None


def headers_of(given: list[str] | None) -> dict[str, str]:
    """The values of --header: the headers' values by name."""
    from tts.errors import InvalidParameter

    pairs = [text.partition("=") for text in given or ()]
    for number, (name, equals, value) in enumerate(pairs, 1):
        if not (name.strip() and equals and value.strip()):  # which is not shown: it may be a secret
            raise InvalidParameter(
                f"headers must be NAME=VALUE, but that of --header number {number} is not", name="headers"
            )
    return {name.strip(): value.strip() for name, _, value in pairs}


def answer_format_of(name: str | None) -> Any:
    """The value of --answer-format."""
    from typing import get_args

    from tts.errors import unknown_name
    from tts.types import AnswerFormat

    if name is not None and name not in get_args(AnswerFormat):
        raise unknown_name("answer format", name, get_args(AnswerFormat))
    return name


def api_of(name: str) -> Literal["chat", "completions"]:
    """The value of --api."""
    from tts.errors import unknown_name

    if name not in ("chat", "completions"):
        raise unknown_name("API", name, ["chat", "completions"])
    return cast(Literal["chat", "completions"], name)


def cancellation_of(name: str | None) -> Any:
    """The value of --cancellation."""
    from typing import get_args

    from tts.errors import unknown_name
    from tts.models.wire.capabilities import Cancellation

    known = [*get_args(Cancellation), "probe"]
    if name is not None and name not in known:
        raise unknown_name("kind of cancellation", name, known)
    return name


def named_counts(given: list[str] | None) -> dict[str, float]:
    """The values of --verifier-tokens: tokens by the verifier's name."""
    from tts.errors import InvalidParameter

    found = {}
    for text in given or ():
        name, _, number = text.rpartition("=")  # a name may have parameters
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = -1.0
        if not 0 <= found[name] < float("inf"):
            raise InvalidParameter(
                f"--verifier-tokens takes NAME=TOKENS, a number from 0 on, but got {text!r}", name="verifier_tokens"
            )
    return found


def named_numbers(flag: str, given: list[str] | None) -> dict[str, float]:
    """The values of an option that takes NAME=NUMBER, by the name."""
    from tts.errors import InvalidParameter

    found = {}
    for text in given or ():
        name, _, number = text.rpartition("=")  # a name may have parameters
        try:
            found[name] = float(number)
        except ValueError:
            raise InvalidParameter(f"{flag} takes NAME=NUMBER, but got {text!r}") from None
    return found


def standard_input() -> str:
    """The whole of standard input, as text."""
    from tts.errors import InvalidParameter

    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"standard input is not UTF-8: {error}", name="prompt") from None
