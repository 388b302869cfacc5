"""Replies that are to be JSON of a schema: how they are read, and how one that is not is asked for once more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from tts.checks import shown
from tts.core.actions import Request
from tts.errors import AllFailed, InvalidParameter
from tts.types import Completion, Message

if TYPE_CHECKING:
    from tts.core.trials.context import Run

REPAIR = "That reply is not the JSON that was asked for: {reason}. Reply with the JSON value alone."
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
_MOST_REASON = 300  # characters
_MOST_SHOWN = 80  # of a reply, likewise


class NotMet(Exception):
    """A reply is not JSON of the schema; the message says why."""


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises: InvalidParameter for what is no JSON schema (draft 2020-12)."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise InvalidParameter(
            f"schema must be a JSON schema (draft 2020-12), but at {error.json_path}: {error.message}", name="schema"
        ) from None
    if (away := next(_references_away(schema), None)) is not None:
        raise InvalidParameter(
            f"schema must refer to itself only (#/$defs/...), but has the $ref {away!r}", name="schema"
        )


def _references_away(schema: Any) -> Iterator[str]:
    """References to other documents, which nobody fetches here."""
    for name, inner in schema.items() if isinstance(schema, Mapping) else ():
        if name in ("$ref", "$dynamicRef") and isinstance(inner, str) and not inner.startswith("#"):
            yield inner
        yield from _references_away(inner)
    for inner in schema if isinstance(schema, list | tuple) else ():
        yield from _references_away(inner)


def read_json(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON value of a reply: the whole text, or its last fenced block. Raises: NotMet."""
    fenced = _FENCED.findall(text)
    try:
        value = msgspec.json.decode((fenced[-1] if fenced else text).strip())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise NotMet(f"it is no JSON ({error})") from None
    try:  # with an empty registry nothing is fetched
        wrong = next(Draft202012Validator(schema, registry=Registry()).iter_errors(value), None)
    except Unresolvable as error:
        raise InvalidParameter(f"schema has a $ref that leads nowhere: {error}", name="schema") from None
    if wrong is not None:
        raise NotMet(f"at {wrong.json_path}: {wrong.message}"[:_MOST_REASON])
    return value


async def meeting(
    run: Run, request: Request, schema: Mapping[str, Any], replies: Sequence[Completion]
) -> list[Completion]:
    """The replies that meet the schema, with their values in `parsed`; each that does not is asked for once more.

    Raises: AllFailed where none does; BudgetExhausted where the budget could not hold a second try of any.
    """
    reasons: list[str] = []

    async def met(reply: Completion) -> Completion:
        try:
            return msgspec.structs.replace(reply, parsed=read_json(reply.text, schema))
        except NotMet as error:
            turns = Message("assistant", reply.text or "(nothing)"), Message("user", REPAIR.format(reason=error))
        again = msgspec.structs.replace(request, messages=(*request.messages, *turns))
        (mended,) = await run._sampled(again, 1)
        try:
            value = read_json(mended.text, schema)
        except NotMet as error:
            reasons.append(str(error))
            raise AllFailed(
                f"{run._trial.id}: no reply met the schema, and neither did those to a second request; of the last "
                f"one, {shown(mended.text[:_MOST_SHOWN])}: {reasons[-1]}. Ask a model that follows schemas, or for "
                f"less",
                asked=len(replies),
            ) from None
        return msgspec.structs.replace(mended.completion, parsed=value)

    return await run.gather(*map(met, replies))
