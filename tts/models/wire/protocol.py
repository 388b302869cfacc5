"""What is said to an OpenAI-compatible server, and what its refusals mean. Pure: dicts and errors, no I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urljoin

import msgspec

from tts.core.actions import Request
from tts.errors import (
    BadResponse,
    CapabilityMissing,
    ContextTooLong,
    EndpointError,
    ModelNotFound,
    NoCredit,
    Overloaded,
    RequestRejected,
    ServerFailed,
    StreamBroken,
    Unauthorized,
)
from tts.models.wire.address import Address, shown
from tts.models.wire.lengths import is_too_long, max_tokens_below, says_too_long
from tts.types import FinishReason, Value

Api = Literal["chat", "completions"]
PrefillForm = Literal["continue_final_message", "trailing_assistant"]


# What is done when a stream is cancelled. `close` closes it, for an engine that then stops: what it may have decoded by
# then is charged. `abort` also calls the engine's abort API (SGLang's). `best_effort` charges such a request in full,
# because nobody can say how far it got. `auto` does what is known of the engine: `abort` for SGLang, `close` for those
# that stop (vLLM, llama.cpp, Ollama) and those that were seen to stop, and `best_effort` for every other.
Cancellation = Literal["auto", "close", "abort", "best_effort"]


class Capabilities(Value, frozen=True):
    """What an endpoint can do. True: seen; False: seen not to; None: not known.

    Args:
        engine: which server it says it is (`vllm`, `sglang`, `llamacpp`, `ollama`), if it does.
        prefill: how it is asked to continue assistant text.
        n: several choices from one request, all different.
        seed: the same seed gives the same text, another seed another.
        usage_in_stream: the last chunk says what it cost. `continuous_usage`: every chunk does.
        abort_on_close: closing the connection stops the decoding.
        tokens_spent: what finding out has cost (generated tokens).
    """

    reachable: bool = False
    models: tuple[str, ...] = ()
    engine: str | None = None
    prefill: bool | None = None
    prefill_form: PrefillForm | None = None
    n: bool | None = None
    seed: bool | None = None
    logprobs: bool | None = None
    usage_in_stream: bool | None = None
    continuous_usage: bool | None = None
    abort_on_close: bool | None = None
    tokens_spent: int = 0
    problem: str = ""


# How each engine is asked to continue assistant text (the others cannot, or are not known to).
PREFILL_FORMS: Mapping[str, PrefillForm] = {
    "vllm": "continue_final_message",
    "sglang": "continue_final_message",
    "llamacpp": "trailing_assistant",
    "ollama": "trailing_assistant",
}

# Some providers say with a 400 or 429, as if the request were at fault, that an account or a key has run out. A quota
# that is "exceeded" may be one a minute.
_NO_CREDIT = re.compile(
    r"insufficient_quota|insufficient (?:account )?(?:balance|credits?|funds)|balance is (?:too low|insufficient)|"
    r"billing[ _]hard[ _]limit|billing_not_active|arrearage|exceeded_current_quota|requires more credits|"
    r"spending limit",
    re.I,
)
_BAD_KEY = re.compile(r"api[ _-]?key (?:is )?(?:not valid|invalid|expired)|(?:invalid|incorrect)[ _]api[ _]key", re.I)
_MOST_SAID = 4000  # characters of a message that are read; people are shown 300
# Where servers put what their message does not say: OpenRouter what the provider behind it said, Google and others
# which fields are wrong.
_BESIDE_MESSAGES = ("metadata", "details", "errors", "invalid_params", "invalid-params")
_REFUSED = ("400", "422", "invalid_request_error", "BadRequestError")  # in a stream
_A_MODEL = re.compile(r"(?<![/\w])models?\b(?!/)", re.I)  # the word, not a path such as /v1/models
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "stop_sequence": "stop", "word": "stop", "end_turn": "stop",
    "length": "length", "limit": "length", "max_tokens": "length", "model_length": "length",
    "content_filter": "content_filter", "safety": "content_filter",
    "tool_calls": "tool_calls", "function_call": "tool_calls",
}  # fmt: skip


def cancellation_of(engine: str | None, stops: bool | None) -> Cancellation:
    """What is done when a stream is cancelled: only an engine that was seen to stop is trusted to."""
    if stops:
        return "close"
    return "abort" if engine == "sglang" else "best_effort"


def normalise_base_url(url: str) -> str:
    """With scheme and API version, without a trailing slash or credentials: `http://host:8000` is
    `http://host:8000/v1`. Raises: InvalidParameter."""
    return Address.of(url).name


def normalise_finish(reason: str) -> FinishReason:
    return _FINISH.get(reason.lower(), "other")


def body_of(request: Request, model: str, api: Api, capabilities: Capabilities) -> dict[str, Any]:
    """The JSON body of a streamed request.

    Everything that shapes the distribution is said: servers' own defaults differ, and some take them from the model's
    files. Raises CapabilityMissing if the request continues assistant text and the endpoint is not known to be able to.
    """
    sampling = request.sampling
    body: dict[str, Any] = {"model": model, "stream": True}
    if api == "chat":
        body["messages"] = [{"role": m.role, "content": m.content} for m in request.messages]
    else:
        body["prompt"] = "\n\n".join(m.content for m in request.messages) + request.continue_from
    body |= {
        "max_tokens": sampling.token_limit,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,  # 0 is an error in SGLang; -1 switches it off everywhere
        "min_p": sampling.min_p,
        "repetition_penalty": 1.0,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.top_logprobs and api == "chat":
        body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    elif sampling.top_logprobs:
        body["logprobs"] = sampling.top_logprobs
    if capabilities.engine == "llamacpp":
        body["timings_per_token"] = True
    if request.continue_from and api == "chat":
        _continue(body, request.continue_from, capabilities)
    return body


def encoded(body: Mapping[str, Any]) -> bytes:
    """The body as JSON. Halves of surrogate pairs, which UTF-8 cannot hold, are joined or replaced."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return msgspec.json.encode(_with_whole_characters(body))


def _with_whole_characters(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case dict():
            return {name: _with_whole_characters(each) for name, each in value.items()}
        case list():
            return [_with_whole_characters(each) for each in value]
    return value


def _continue(body: dict[str, Any], prefix: str, capabilities: Capabilities) -> None:
    if capabilities.prefill_form is None:
        raise CapabilityMissing(
            "this strategy continues assistant text, and the endpoint "
            + ("cannot" if capabilities.prefill is False else "is not known to be able to")
            + ". vLLM, SGLang and llama.cpp can; `tts doctor` shows what an endpoint can do.",
            capability="prefill",
            engine=capabilities.engine,
        )
    body["messages"].append({"role": "assistant", "content": prefix})
    if capabilities.prefill_form == "continue_final_message":
        body |= {"continue_final_message": True, "add_generation_prompt": False}


def without(body: dict[str, Any], refused: Collection[str]) -> dict[str, Any]:
    """The body without parameters that an endpoint refuses, or with the names that it has for them."""
    body = {**body, "stream_options": dict(body["stream_options"])}
    for name in refused:
        match name:
            case "logprobs":
                body.pop("logprobs", None)
                body.pop("top_logprobs", None)
            case "continuous_usage_stats" | "include_usage":
                body.get("stream_options", {}).pop(name, None)
            case "max_tokens":  # OpenAI's reasoning models
                body["max_completion_tokens"] = body.pop("max_tokens")
            case _:
                body.pop(name, None)
    return body


def error_text(body: bytes) -> tuple[str, str | None, str]:
    """An error body's message, the parameter it names, and its code, in any of the shapes that servers use."""
    try:
        return error_parts(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError, ValueError):
        return body[:_MOST_SAID].decode("utf-8", "replace").strip(), None, ""


def error_parts(plain: Any) -> tuple[str, str | None, str]:
    """The same, of a decoded error."""
    if isinstance(plain, list) and plain:  # Gemini
        plain = plain[0]
    if not isinstance(plain, dict):
        return "" if plain is None else str(plain)[:_MOST_SAID], None, ""
    inner = plain.get("error") or plain
    if not isinstance(inner, dict):
        return str(inner)[:_MOST_SAID], None, str(plain.get("code") or "")
    message, param = inner.get("message") or inner.get("detail") or inner, inner.get("param")
    if isinstance(message, list) and message and isinstance(message[0], dict):  # FastAPI's 422
        param = _path_of(message[0])
        message = "; ".join(f"{_path_of(m)}: {m.get('msg')} ({m.get('type')})" for m in message if isinstance(m, dict))
    beside = "".join(f" ({each[name]})" for each in (inner, plain) for name in _BESIDE_MESSAGES if each.get(name))
    code = str(inner.get("code") or inner.get("type") or "")
    return f"{message}{beside}"[:_MOST_SAID], param if isinstance(param, str) else None, code


def _path_of(entry: Mapping[str, Any]) -> str:
    path = entry.get("loc")
    return ".".join(str(part) for part in path if part != "body") if isinstance(path, list) else ""


def error_of(
    status: int, headers: Mapping[str, str], body: bytes, endpoint: str, model: str, who: str = ""
) -> EndpointError:
    """The error behind an HTTP status that is not 200. `who` answered, if it is more than the endpoint."""
    message, param, code = error_text(body)
    where = f"{who or endpoint} answered HTTP {status}: {message[:300].rstrip('. ') or 'no explanation'}"
    facts: dict[str, Any] = {"endpoint": endpoint, "status": status, "said": message}
    if (below := max_tokens_below(message)) is not None:
        facts["max_tokens_below"] = below
    if (after := retry_after_s(headers)) is not None:
        facts["retry_after_s"] = after
    if (said := headers.get("x-should-retry", "").lower()) in ("true", "false"):
        facts["should_retry"] = said == "true"
    if param:
        facts["param"] = param
    kind, advice = _blame(status, message, param, code)
    if 300 <= status < 400 and (to := headers.get("location")):
        where = f"{who or endpoint} redirects (HTTP {status}) to {_target_of(endpoint, to)}"
        advice = "Redirects are not followed: give the base URL that it leads to."
    if kind is ModelNotFound:
        facts["model"] = model
    if kind is BadResponse:
        facts["final"] = True
    return kind(f"{where}. {advice}", **facts)


def _target_of(endpoint: str, location: str) -> str:
    with suppress(ValueError):
        location = urljoin(f"{endpoint}/", location)
    return shown(location.encode("utf-8", "replace").decode())  # a header may hold any bytes


def _blame(status: int, message: str, param: str | None, code: str) -> tuple[type[EndpointError], str]:
    """Whose fault a status is, and what to do about it."""
    said = f"{message} {code}"
    about_model = code == "model_not_found" or (status == 404 and (param == "model" or bool(_A_MODEL.search(message))))
    no_credit = status == 402 or (status < 500 and bool(_NO_CREDIT.search(said)))
    bad_key = status in (401, 403) or (status == 400 and bool(_BAD_KEY.search(said)))
    rules: tuple[tuple[bool, type[EndpointError], str], ...] = (
        (no_credit, NoCredit, "The account has no credit left."),
        (bad_key, Unauthorized, "Set OPENAI_API_KEY, or pass the key that this endpoint expects."),
        (is_too_long(status, said), ContextTooLong, "Shorten the prompt or lower max_tokens."),
        (status == 407, Unauthorized, "The proxy wants a name and a password: HTTP_PROXY=http://NAME:PASSWORD@HOST."),
        (status in (429, 503, 529), Overloaded, "Lower the concurrency, or add endpoints."),
        (status == 501, RequestRejected, "The server cannot do this."),
        (status in (408, 409, 424) or status >= 500, ServerFailed, "Look at the server's log."),
        (about_model, ModelNotFound, "Ask for a model that it serves."),
        (status == 404, RequestRejected, "Is the base URL right? It usually ends in /v1."),
        (status < 400, BadResponse, "A completion was expected: is the base URL right?"),
        (True, RequestRejected, "The request itself has to change."),
    )
    return next((kind, advice) for holds, kind, advice in rules if holds)


def say_more(error: EndpointError, sentence: str) -> None:
    """Add a sentence to an error."""
    error.message = f"{error.message} {sentence}"
    error.args = (error.message,)


def error_in_stream(error: Any, endpoint: str, tokens: int) -> EndpointError:
    """The error behind an error object inside an HTTP 200 stream."""
    message, param, code = error_parts(error)
    facts: dict[str, Any] = {"endpoint": endpoint, "tokens": tokens}
    where = f"{endpoint} failed after {tokens} tokens: {message[:300].rstrip('. ')}"
    if code in ("429", "503", "rate_limit_exceeded", "overloaded_error"):
        return Overloaded(f"{where}. Lower the concurrency, or add endpoints.", **facts)
    if code == "402" or _NO_CREDIT.search(f"{message} {code}"):
        return NoCredit(f"{where}. The account has no credit left.", **facts)
    if says_too_long(f"{message} {code}"):
        return ContextTooLong(f"{where}. Shorten the prompt or lower max_tokens.", **facts)
    if not tokens and code in _REFUSED:
        return RequestRejected(
            f"{where}. The request itself has to change.", status=400, said=message, param=param, **facts
        )
    return ServerFailed(f"{where}. Look at the server's log.", **facts)


def broken(endpoint: str, tokens: int, why: str) -> StreamBroken:
    return StreamBroken(
        f"{endpoint} {why} after {tokens} tokens, before the completion was finished. What came is partial.",
        endpoint=endpoint,
        tokens=tokens,
    )


def is_nan_refusal(error: EndpointError) -> bool:
    """vLLM's and SGLang's answer when a log-probability is NaN, which they cannot write as JSON."""
    return "JSON compliant" in error.message


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: `retry-after-ms`, or `retry-after` as seconds or against its own `date`."""
    try:
        if ms := headers.get("retry-after-ms"):
            return max(0.0, float(ms) / 1000)
        after = headers.get("retry-after")
        if not after:
            return None
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", after):
            return float(after)
        return max(0.0, (parsedate_to_datetime(after) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def has_no_list(error: EndpointError) -> bool:
    """Whether an endpoint answered a request for its list of models, and has none, or none for this key."""
    none = isinstance(error, RequestRejected | ModelNotFound) or error.facts.get("listed") is False
    return none or error.facts.get("status") == 403
