"""A request, read: what is asked, how to sample, and what to run. No field is passed over in silence."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from tts.api.problems import as_problem
from tts.checks import shown
from tts.errors import InvalidParameter
from tts.serve.protocol.refusals import Refusal
from tts.serve.protocol.turns import messages_of, tools_of
from tts.types import Problem, Prompt, Sampling, Tool, Value

SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "stop", "reasoning_effort", "chat_template_kwargs",
)  # fmt: skip
# Go to the model's server as they are given.
EXTRA = (
    "response_format", "frequency_penalty", "presence_penalty", "logit_bias", "tool_choice", "parallel_tool_calls",
)  # fmt: skip
OF_NO_EFFECT = ("user", "safety_identifier", "metadata", "prompt_cache_key", "store")  # here
OWN = (
    "model", "messages", "stream", "stream_options", "n", "seed", "max_completion_tokens", "tts", "logprobs",
    "top_logprobs", "service_tier", "tools",
)  # fmt: skip
HABITS = ("optillm_approach", "budget")  # fields of optillm and its_hub, and the approaches of optillm's that we have
APPROACHES = {
    "none": "single", "bon": "best_of_n", "self_consistency": "majority_vote", "majority_voting": "majority_vote",
    "genselect": "genselect",
}  # fmt: skip
NOT_YET = ("functions", "function_call", "modalities", "audio")
KNOWN = (*OWN, *SAMPLING, *EXTRA, *OF_NO_EFFECT, *HABITS)
SEEDS = 2**31  # to draw from, where a request has none
_SAYING_NOTHING: Mapping[str, tuple[tuple[Any, ...], str]] = {  # field -> the values that it may have, and why
    "logprobs": ((False, 0), "must be false, as an answer that was chosen has none"),
    "top_logprobs": ((0,), "must be 0, as an answer that was chosen has none"),
    "service_tier": (("auto", "default"), "must be auto or default, as there is one tier"),
}
_TTS = ("strategy", "budget", "deadline_s", "events", "allocator")
MOST_CHOICES = 128  # OpenAI's limit
MOST_NAMED = 1024  # characters of what names a model, a strategy or a budget: they are kept, logged and searched


class Wanted(Value, frozen=True):
    """What a request, an alias or the server's default says of what to run; None says nothing.

    Args:
        strategy: `NAME:PARAM=VALUE,...`. budget: limits of the request, as text. deadline_s: seconds until its answer.
        events: whether a stream tells its progress in events with types, in place of comments.
        allocator: when samples are worth their cost no more, as a strategy is written.
    """

    strategy: str | None = None
    budget: str | None = None
    deadline_s: float | None = None
    events: bool | None = None
    allocator: str | None = None

    def over(self, other: Wanted) -> Wanted:
        """These wishes, and the other's where they say nothing."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in _TTS)
        return Wanted(*(other if mine is None else mine for mine, other in pairs))


class Asked(Value, frozen=True):
    """A request.

    Args:
        chats: the turns of each prompt: of a chat one, of text completions perhaps several.
        model: as named; None where none is. sampling: fields of `tts.Sampling`.
        stream: whether events are asked for. include_usage: whether a stream ends with the usage.
        wanted: the field `tts`.
        tools: those that the model may ask for.
        seed: as given; else drawn, so that the same request twice has other samples, as with OpenAI.
        count: number of choices of each prompt.
        echoed: fields of the request that its reply repeats.
    """

    chats: tuple[Prompt, ...]
    model: str | None
    sampling: Mapping[str, Any]
    seed: int
    stream: bool = False
    include_usage: bool = False
    wanted: Wanted = Wanted()
    tools: tuple[Tool, ...] = ()
    count: int = 1
    echoed: Mapping[str, Any] = {}

    @property
    def problems(self) -> list[Problem]:
        """What is asked. Raises: InvalidParameter for turns in another order than a chat's."""
        found = [as_problem(chat) for chat in self.chats]
        return [msgspec.structs.replace(problem, tools=self.tools) for problem in found] if self.tools else found


def chat_of(body: bytes, forward_unknown: bool = False) -> Asked:
    """Read the body of a chat. Arguments and errors as `asked_of`."""
    fields = object_of(body)
    return asked_of(fields, (messages_of(fields.get("messages")),), KNOWN, forward_unknown)


def asked_of(
    fields: Mapping[str, Any], chats: tuple[Prompt, ...], known: Collection[str], forward_unknown: bool = False
) -> Asked:
    """Read a request's fields.

    Args:
        chats: the prompts, read already. known: the names of fields that this request may have.
        forward_unknown: whether unknown fields go to the model's server; else they are refused.
    Raises: Refusal.
    """
    unknown = [name for name in fields if name not in known]
    if unknown and (unknown[0] in NOT_YET or not forward_unknown):
        raise _unknown(unknown[0])
    for name, (nothing, why) in _SAYING_NOTHING.items():
        if name in fields and fields[name] not in nothing:
            message = f"{name} {why}, but got {shown(fields[name])}"
            raise Refusal(400, message, code="unsupported", param=name)
    seed, model = _seed_of(fields), typed(fields, "model", str, "text")
    _check_length(model, "model")
    options = typed(fields, "stream_options", dict, "an object") or {}
    if extra := [name for name in options if name not in ("include_usage", "include_obfuscation")]:
        raise Refusal(400, f"stream_options has an unknown field {extra[0]!r}", param="stream_options")
    return Asked(
        chats,
        model,
        _sampling(fields, unknown),
        seed,
        bool(typed(fields, "stream", bool, "true or false")),
        bool(typed(options, "include_usage", bool, "true or false")),
        (wanted_of(fields["tts"], "tts.") if "tts" in fields else Wanted()).over(_of_habits(fields)),
        tools_of(fields),
        _count_of(fields),
    )


def of_headers(headers: Mapping[str, str]) -> Wanted:
    """What the headers `X-TTS-...` say of what to run: one for each field of `tts`. Raises: Refusal."""
    given: dict[str, Any] = {}
    known = {_header(name).lower(): _header(name) for name in _TTS}
    for name in headers:
        if name.lower().startswith("x-tts-") and name.lower() not in known:
            message = f"there is no header {shown(name)}: known are {', '.join(known.values())}"
            raise Refusal(400, message, param=name)
    for name in _TTS:
        text = headers.get(_header(name).lower())
        if text is not None:
            given[name] = _HEADERS.get(name, str)(text)
    return wanted_of(given, "X-TTS-")


def _header(name: str) -> str:
    return "X-TTS-" + "-".join(word.capitalize() for word in name.split("_"))


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # to be refused by its name


_HEADERS: Mapping[str, Callable[[str], Any]] = {
    "deadline_s": _number, "events": lambda text: {"true": True, "false": False}.get(text.lower(), text),
}  # fmt: skip


def wanted_of(given: object, where: str) -> Wanted:
    """Read what a mapping says of what to run. Raises: Refusal, which names the field.

    Args:
        where: what stands before a field's name in messages: `tts.`, `X-TTS-` of headers.
    """
    whole = where.rstrip(".")
    if not isinstance(given, Mapping):
        raise Refusal(400, f'{whole} must be an object such as {{"strategy": "majority_vote:n=8"}}', param=whole)
    for name in given:
        if name not in _TTS:
            raise Refusal(400, f"{whole} has an unknown field {name!r}: known are {', '.join(_TTS)}", param=whole)

    def named(name: str) -> str:
        return _header(name) if where == "X-TTS-" else f"{where}{name}"

    budget = given.get("budget")
    if isinstance(budget, Mapping):
        budget = ",".join(f"{name}={amount}" for name, amount in budget.items())
    strategy, allocator = given.get("strategy"), given.get("allocator")
    for name, value in (("strategy", strategy), ("budget", budget), ("allocator", allocator)):
        if value is not None and not isinstance(value, str):
            raise Refusal(400, f"{named(name)} must be text, but got {shown(value)}", param=named(name))
        _check_length(value, named(name))
    events = given.get("events")
    if events is not None and type(events) is not bool:
        raise Refusal(400, f"{named('events')} must be true or false, but got {shown(events)}", param=named("events"))
    return Wanted(strategy, budget, seconds_of(given.get("deadline_s"), named("deadline_s")), events, allocator)


def _of_habits(fields: Mapping[str, Any]) -> Wanted:
    """What the fields of optillm and its_hub say. Raises: Refusal for what has no counterpart here."""
    approach, count = (
        typed(fields, "optillm_approach", str, "text"),
        typed(fields, "budget", int, "a number of samples"),
    )
    if approach is not None and approach not in APPROACHES:
        known = ", ".join(APPROACHES)
        message = f"optillm_approach {approach!r} has no counterpart here: known are {known}; name a strategy in tts"
        raise Refusal(400, message, param="optillm_approach")
    if count is not None and count < 1:
        raise Refusal(400, f"budget must be at least 1 sample, but got {count}", param="budget")
    if count is None:
        return Wanted(None if approach is None else APPROACHES[approach])
    strategy = APPROACHES[approach or "self_consistency"]
    return Wanted(strategy if strategy == "single" else f"{strategy}:n={count}")


def _check_length(text: str | None, name: str) -> None:
    if text is not None and len(text) > MOST_NAMED:
        message = f"{name} may have {MOST_NAMED:,} characters, but has {len(text):,}"
        raise Refusal(400, message, param=name)


def seconds_of(given: object, where: str) -> float | None:
    """A number of seconds. Raises: Refusal."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= sys.float_info.max:
        raise Refusal(400, f"{where} must be a number of seconds above 0, but got {shown(given)}", param=where)
    return float(given)


def object_of(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {error}", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise Refusal(400, f"the body must be a JSON object, but is a {type(fields).__name__}", code="invalid_json")
    return {name: value for name, value in fields.items() if value is not None}


def _seed_of(fields: Mapping[str, Any]) -> int:
    """The seed, as given or drawn. Raises: Refusal for one that servers of models cannot hold."""
    seed = typed(fields, "seed", int, "a whole number")
    if seed is not None and not -(2**63) <= seed < 2**63:
        raise Refusal(400, f"seed must be a whole number of 64 bits, but got {shown(seed)}", param="seed")
    return secrets.randbelow(SEEDS) if seed is None else int(seed)


def _unknown(name: str) -> Refusal:
    if name in NOT_YET:
        return Refusal(400, f"{name} is not supported by this server: leave it out", code="unsupported", param=name)
    hint = "the server forwards unknown fields to its model where it is started with --forward-unknown"
    return Refusal(400, f"unknown field {name!r}: leave it out ({hint})", code="unknown_parameter", param=name)


def _count_of(fields: Mapping[str, Any]) -> int:
    count = typed(fields, "n", int, "a whole number")
    if count is None:
        return 1
    if not 1 <= count <= MOST_CHOICES:
        why = "it is the number of choices in the reply, the best ones of all samples"
        raise Refusal(400, f"n must be from 1 to {MOST_CHOICES}, but got {shown(count)}: {why}", param="n")
    return int(count)


def typed(fields: Mapping[str, Any], name: str, kind: type, words: str) -> Any:
    """The value of a field; None where it is missing. Raises: Refusal for another kind."""
    value = fields.get(name)
    if value is not None and type(value) is not kind:
        raise Refusal(400, f"{name} must be {words}, but got {shown(value)}", param=name)
    return value


def _sampling(fields: Mapping[str, Any], unknown: Sequence[str]) -> dict[str, Any]:
    found = {name: fields[name] for name in SAMPLING if name in fields}
    if "max_completion_tokens" in fields:
        if "max_tokens" in found and found["max_tokens"] != fields["max_completion_tokens"]:
            raise Refusal(400, "max_tokens and max_completion_tokens differ: leave one out", param="max_tokens")
        found["max_tokens"] = fields["max_completion_tokens"]
    extra = {name: fields[name] for name in (*EXTRA, *unknown) if name in fields}
    form = extra.get("response_format")
    if form is not None:
        kinds = ("text", "json_object", "json_schema")
        if not isinstance(form, dict) or form.get("type") not in kinds:
            raise Refusal(400, f"response_format.type must be one of {', '.join(kinds)}", param="response_format")
        if form["type"] == "json_schema" and not isinstance(form.get("json_schema"), dict):
            known = '{"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}'
            raise Refusal(
                400, f"response_format must be {known}, but got {shown(form)}", param="response_format.json_schema"
            )
        if form["type"] == "text":
            del extra["response_format"]
    return {**found, "extra_body": extra} if extra else found


def sampling_of(default: Sampling, given: Mapping[str, Any]) -> Sampling:
    """The server's sampling with a request's fields in place of its own. Raises: Refusal."""
    fields = dict(given)
    if "extra_body" in fields:
        fields["extra_body"] = {**default.extra_body, **fields["extra_body"]}
    try:
        return msgspec.structs.replace(default, **fields)
    except InvalidParameter as error:
        name = next((name for name in fields if error.message.startswith(name)), None)
        raise Refusal(400, error.message, param=name) from None
