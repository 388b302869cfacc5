"""The parameters that an endpoint refuses: found in its words, believed when they hold, known to the process. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from tts.core.actions import Request

_BY_VALUE: Mapping[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
_BY_NAME = ("seed", "max_tokens", "stream_options", "continuous_usage_stats", "include_usage", "timings_per_token")
# Leaving one of these out is no loss: they do not change the samples (`max_tokens` has another name).
_NEUTRAL: Mapping[str, Any] = {**_BY_VALUE, **dict.fromkeys(_BY_NAME[1:], True)}
_OTHER_NAME = "max_completion_tokens"
_REFUSAL = re.compile(
    r"unsupported|not (?:currently )?supported|n't support|not support|not enabled|unrecogni[sz]ed|unknown|"
    r"not permitted|not allowed|unexpected|extra inputs|extra_forbidden|not available|not implemented|"
    r"only the default|deprecated",
    re.I,
)


def may_be_left_out(body: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a request's body that a server may refuse and the request can do without: name -> value, or True if
    a server refuses all values alike."""
    found: dict[str, Any] = {name: body[name] for name in _BY_VALUE if name in body}
    found |= {name: True for name in _BY_NAME if name in body or name in body.get("stream_options", ())}
    if "reasoning_effort" in body:
        found["reasoning_effort"] = body["reasoning_effort"]
    if "chat_template_kwargs" in body:
        found["chat_template_kwargs"] = repr(body["chat_template_kwargs"])  # values of a set
    if "stop" in body:
        found["stop"] = tuple(body["stop"])
    if "logprobs" in body:
        found["logprobs"] = body.get("top_logprobs", body["logprobs"])
    return found


def refused_parameter(message: str, param: str | None, sent: Mapping[str, Any]) -> str | None:
    """The name among `sent` that a refusal mentions, if the request may be tried without it: a value that changes
    nothing whatever the words are (a range, a combination), one that matters only if they say that the parameter is
    not known.

    Of the parameters that one clause names, one that changes nothing goes first, and of a group its least useful part.
    """
    refuses = bool(_REFUSAL.search(message))
    renames = refuses or _OTHER_NAME in message
    last = (param or "").rsplit(".", 1)[-1].replace("top_logprobs", "logprobs")
    if last in sent and (refuses or _is_light(last, sent[last], renames)):
        return _least(last, sent)
    named = sorted((at.start(), name) for name in sent if (at := _mention(name).search(message)))
    end = _end_of_clause(message, named[0][0]) if refuses and named else len(message)
    names = [name for at, name in named if at < end]
    light = [name for name in names if _is_light(name, sent[name], renames)]
    found = next(iter(light + names * refuses), None)
    return found and _least(found, sent)


def _end_of_clause(message: str, start: int) -> int:
    """The end of a refusal's clause, after which servers often list the parameters that they know."""
    return start + len(re.split(r"[.:;\n]\s", message[start:], maxsplit=1)[0])


def _is_light(name: str, value: Any, renames: bool) -> bool:
    return renames if name == "max_tokens" else name == "seed" or changes_nothing(name, value)


def _least(name: str, sent: Mapping[str, Any]) -> str:
    return "continuous_usage_stats" if name == "stream_options" and "continuous_usage_stats" in sent else name


def changes_nothing(name: str, value: Any) -> bool:
    """Whether a parameter with this value may be left out without a loss."""
    return name in _NEUTRAL and bool(value == _NEUTRAL[name])


@lru_cache
def _mention(name: str) -> re.Pattern[str]:
    """A pattern of a parameter's name in any spelling (top_k, topK, top-k), but not as the first part of a longer
    one."""
    name = "(?:top_)?logprobs" if name == "logprobs" else name
    return re.compile(rf"(?<![\w]){name.replace('_', '[ _-]?')}(?!\w|\.\w)", re.I)


def losses(refused: Collection[str], sent: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of the parameters left out of a request whose absence changes its meaning."""
    return tuple(sorted(name for name in refused if name in sent and not changes_nothing(name, sent[name])))


class Refusals:
    """Parameters that one endpoint was found to refuse for one model.

    A refusal is believed only once the request was answered without the parameter. A value that changes nothing is then
    left out of every request. One that matters is left out of those with the same prompt, and is marked as a loss; it
    is left out of all requests once a second prompt has shown the same, and none was answered with it in between: what
    is refused because of one prompt's content changes no other prompt's sampling.
    """

    def __init__(self) -> None:
        # Replaced, never changed, because threads with a loop each read them.
        self._known: frozenset[tuple[str, Any]] = frozenset()
        self._prompts: Mapping[tuple[str, Any], int] = {}  # a value that matters -> the prompt that first showed it
        self._usual: frozenset[str] = frozenset()

    def of(self, request: Request, body: Mapping[str, Any]) -> frozenset[str]:
        """The parameters to leave out of this request's body."""
        if not self._known and not self._prompts:
            return frozenset()
        prompt = _prompt(request)
        return frozenset(
            name
            for name, value in may_be_left_out(body).items()
            if (name, value) in self._known or prompt == self._prompts.get((name, value))
        )

    def answered(self, request: Request, body: Mapping[str, Any], left_out: frozenset[str]) -> None:
        """Learn from a request that was answered without these parameters of its body."""
        if not self._prompts and left_out == self._usual:
            return
        for which in may_be_left_out(body).items():
            if which[0] not in left_out:
                self._known -= {which}
                self._prompts = {other: prompt for other, prompt in self._prompts.items() if other != which}
            elif changes_nothing(*which):
                self._known |= {which}
            else:
                self._suspect(which, _prompt(request))
        self._usual = left_out

    def _suspect(self, which: tuple[str, Any], prompt: int) -> None:
        self._prompts = {which: prompt, **self._prompts}
        if self._prompts[which] != prompt:
            self._known |= {which}


def _prompt(request: Request) -> int:
    return hash((request.messages, request.continue_from))


@lru_cache(maxsize=1024)
def refusals_of(endpoint: str, model: str) -> Refusals:
    """The refusals of an endpoint that this process knows, so that each is found out once."""
    return Refusals()
