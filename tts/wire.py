"""What is said to an OpenAI-compatible server, and what its refusals mean. Pure: dicts and errors, no I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from tts.actions import Request
from tts.errors import (
    BadResponse,
    CapabilityMissing,
    ContextTooLong,
    EndpointError,
    InvalidParameter,
    ModelNotFound,
    Overloaded,
    RequestRejected,
    ServerFailed,
    StreamBroken,
    Unauthorized,
)
from tts.types import FinishReason, Value

Api = Literal["chat", "completions"]
PrefillForm = Literal["continue_final_message", "trailing_assistant"]


# What is done when a stream is cancelled: `close` closes it, and the engine stops; `abort` also calls the engine's
# abort API (SGLang's), for engines that decode on; `best_effort` charges such a request in full, because nobody can say
# how far it got.
Cancellation = Literal["close", "abort", "best_effort"]


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

# What may be left out where a server refuses it, with the value that changes nothing: leaving that out is no loss.
_OPTIONAL: Mapping[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "stop": [],
    "seed": None,
    "logprobs": None,
    "top_logprobs": None,
    "stream_options": None,
    "continuous_usage_stats": None,
    "include_usage": None,
    "timings_per_token": None,
    "max_tokens": None,
}
_ONLY_COUNTS = {"stream_options", "continuous_usage_stats", "include_usage", "timings_per_token", "max_tokens"}
_REFUSAL = re.compile(
    r"unsupported|not supported|n't support|not support|unrecogni[sz]ed|unknown|not permitted|not allowed|unexpected|"
    r"extra inputs|extra_forbidden|not available|not implemented|only the default",
    re.I,
)
_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|context size|context length|longer than the model|"
    r"max_new_tokens. must be|prompt is too long|input is too long|too many tokens",
    re.I,
)
_A_MODEL = re.compile(r"(?<![/\w])models?\b(?!/)", re.I)  # the word, not a path such as /v1/models
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "stop_sequence": "stop", "word": "stop", "end_turn": "stop",
    "length": "length", "limit": "length", "max_tokens": "length", "model_length": "length",
    "content_filter": "content_filter", "safety": "content_filter",
    "tool_calls": "tool_calls", "function_call": "tool_calls",
}  # fmt: skip


def normalise_base_url(url: str) -> str:
    """With scheme and API version, without a trailing slash: `http://host:8000` is `http://host:8000/v1`."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port out of range, half an IPv6 address
        fine = False
    if not fine:
        raise InvalidParameter(
            f"base URL must look like http://host:8000/v1, but got {url!r}", name="base_url", value=url
        )
    path = parts.path.rstrip("/")
    for suffix in ("/chat/completions", "/completions", "/models"):
        path = path.removesuffix(suffix)
    if not any(re.fullmatch(r"v\d+\w*", segment) for segment in path.split("/")):
        path += "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def normalise_finish(reason: str) -> FinishReason:
    return _FINISH.get(reason.lower(), "other")


def body_of(
    request: Request, model: str, api: Api, refused: Collection[str], capabilities: Capabilities
) -> dict[str, Any]:
    """The JSON body of a streamed request, without what this endpoint is known to refuse.

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
        "seed": request.seed,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
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
    return _without(body, refused)


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


def _without(body: dict[str, Any], refused: Collection[str]) -> dict[str, Any]:
    for name in refused:
        match name:
            case "logprobs" | "top_logprobs":
                body.pop("logprobs", None)
                body.pop("top_logprobs", None)
            case "continuous_usage_stats" | "include_usage":
                body.get("stream_options", {}).pop(name, None)
            case "max_tokens":  # OpenAI's reasoning models
                body["max_completion_tokens"] = body.pop("max_tokens")
            case _:
                body.pop(name, None)
    return body


def losses(refused: Collection[str], request: Request) -> tuple[str, ...]:
    """Of the parameters that an endpoint refuses, those whose absence makes this request another one."""
    sampling = request.sampling
    asked: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "repetition_penalty": 1.0,
        "stop": list(sampling.stop),
        "seed": request.seed,
        "logprobs": sampling.top_logprobs or None,
    }
    names = {"logprobs" if name == "top_logprobs" else name for name in refused} - _ONLY_COUNTS
    return tuple(sorted(name for name in names if asked[name] != _OPTIONAL[name]))


def refused_parameter(message: str, param: str | None, body: Mapping[str, Any]) -> str | None:
    """Which parameter of `body` a 400 refuses to know, if it is one that can be left out."""
    if not _REFUSAL.search(message):
        return None
    options = body.get("stream_options") or {}
    sent = [name for name in _OPTIONAL if name in body or name in options]
    if param and (name := param.rsplit(".", 1)[-1]) in sent:
        return name
    found = [(at.start(), name) for name in sent if (at := re.search(rf"\b{name}\b(?!\.\w)", message))]
    return min(found)[1] if found else None


def error_text(body: bytes) -> tuple[str, str | None, str]:
    """An error body's message, the parameter it names, and its code, in any of the shapes that servers use."""
    try:
        plain = msgspec.json.decode(body)
    except msgspec.DecodeError:
        text = body[:200].decode("utf-8", "replace").strip()
        return text, None, ""
    return error_parts(plain)


def error_parts(plain: Any) -> tuple[str, str | None, str]:
    """The same, of a decoded error."""
    if not isinstance(plain, dict):
        return str(plain), None, ""
    inner = plain.get("error", plain)
    if not isinstance(inner, dict):
        return str(inner), None, str(plain.get("code") or "")
    message, param = inner.get("message") or inner.get("detail") or inner, inner.get("param")
    if isinstance(message, list) and message and isinstance(message[0], dict):  # FastAPI's 422
        first = message[0]
        param = ".".join(str(part) for part in first.get("loc", ()) if part != "body")
        message = f"{param}: {first.get('msg')} ({first.get('type')})"
    return str(message), param if isinstance(param, str) else None, str(inner.get("code") or inner.get("type") or "")


def error_of(status: int, headers: Mapping[str, str], body: bytes, endpoint: str, model: str) -> EndpointError:
    """The error behind an HTTP status that is not 200."""
    message, param, code = error_text(body)
    where = f"{endpoint} answered HTTP {status}: {message[:300] or 'no explanation'}"
    facts: dict[str, Any] = {"endpoint": endpoint, "status": status, "said": message[:300]}
    if (after := retry_after_s(headers)) is not None:
        facts["retry_after_s"] = after
    if (said := headers.get("x-should-retry", "").lower()) in ("true", "false"):
        facts["should_retry"] = said == "true"
    if param:
        facts["param"] = param
    kind, advice = _blame(status, message, param, code)
    if kind is ModelNotFound:
        facts["model"] = model
    if kind is BadResponse:
        facts["final"] = True
    return kind(f"{where}. {advice}", **facts)


def _blame(status: int, message: str, param: str | None, code: str) -> tuple[type[EndpointError], str]:
    """Whose fault a status is, and what to do about it."""
    said = f"{message} {code}"
    about_model = code == "model_not_found" or (status == 404 and (param == "model" or bool(_A_MODEL.search(message))))
    rules: tuple[tuple[bool, type[EndpointError], str], ...] = (
        (status in (401, 403), Unauthorized, "Set OPENAI_API_KEY, or pass the key that this endpoint expects."),
        (status == 402 or code == "insufficient_quota", RequestRejected, "The account has no credit left."),
        (status in (429, 503, 529), Overloaded, "Lower the concurrency, or add endpoints."),
        (status in (408, 409, 424) or status >= 500, ServerFailed, "Look at the server's log."),
        (
            status in (400, 413, 422) and bool(_TOO_LONG.search(said)),
            ContextTooLong,
            "Shorten the prompt or lower max_tokens.",
        ),
        (about_model, ModelNotFound, "Ask for a model that it serves."),
        (status == 404, RequestRejected, "Is the base URL right? It usually ends in /v1."),
        (status < 400, BadResponse, "A completion was expected: is the base URL right?"),
        (True, RequestRejected, "The request itself has to change."),
    )
    return next((kind, advice) for holds, kind, advice in rules if holds)


def error_in_stream(error: Any, endpoint: str, tokens: int) -> EndpointError:
    """The error behind an error object inside an HTTP 200 stream."""
    message, _, code = error_parts(error)
    facts: dict[str, Any] = {"endpoint": endpoint, "tokens": tokens}
    where = f"{endpoint} failed after {tokens} tokens: {message[:300]}"
    if code in ("429", "503", "rate_limit_exceeded", "overloaded_error"):
        return Overloaded(f"{where}. Lower the concurrency, or add endpoints.", **facts)
    if _TOO_LONG.search(f"{message} {code}"):
        return ContextTooLong(f"{where}. Shorten the prompt or lower max_tokens.", **facts)
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
    except (ValueError, KeyError, TypeError):
        return None
