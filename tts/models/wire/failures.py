"""The meaning of a server's refusals: which error an HTTP status, an error body or an error in a stream becomes.
Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import msgspec

from tts.errors import (
    BadResponse,
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
from tts.models.wire.address import shown
from tts.models.wire.lengths import is_too_long, max_tokens_below, says_too_long

# Some providers report an account or a key that has run out with a 400 or 429, as if the request were at fault. A quota
# that is "exceeded" may be one a minute.
_NO_CREDIT = re.compile(
    r"insufficient_quota|insufficient (?:account )?(?:balance|credits?|funds)|balance is (?:too low|insufficient)|"
    r"billing[ _]hard[ _]limit|billing_not_active|arrearage|exceeded_current_quota|requires more credits|"
    r"spending limit",
    re.I,
)
_BAD_KEY = re.compile(r"api[ _-]?key (?:is )?(?:not valid|invalid|expired)|(?:invalid|incorrect)[ _]api[ _]key", re.I)
_PAGE = re.compile(r"<(?:!doctype )?html", re.I)
_TITLE = re.compile(r"<title>(.*?)</title>", re.I | re.S)
_MOST_SAID = 4000  # characters of a message that are read; people are shown 300
# Fields in which servers add to their message: OpenRouter the answer of the provider behind it, Google and others the
# fields that are wrong.
_BESIDE_MESSAGES = ("metadata", "details", "errors", "invalid_params", "invalid-params")
_REFUSED = ("400", "422", "invalid_request_error", "BadRequestError")  # in a stream
_A_MODEL = re.compile(r"(?<![/\w])models?\b(?!/)", re.I)  # the word, not a path such as /v1/models


def error_text(body: bytes) -> tuple[str, str | None, str]:
    """An error body's message, the parameter it names, and its code, in any of the shapes that servers use."""
    try:
        return error_parts(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError, ValueError):
        return _page_or_text(body[:_MOST_SAID].decode("utf-8", "replace").strip()), None, ""


def _page_or_text(text: str) -> str:
    """A text that is no JSON; of a web server's page, its title."""
    if not _PAGE.match(text):
        return text
    title = _TITLE.search(text)
    named = f" ({' '.join(title[1].split())})" if title else ""
    return f"an HTML page{named}, which no model server writes. Is the base URL right? It usually ends in /v1."


def error_parts(plain: Any) -> tuple[str, str | None, str]:
    """Message, parameter and code of a decoded error, as in `error_text`."""
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
    """The kind of error behind a status, and the action to take."""
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
    """Whether an answer is vLLM's or SGLang's to a log-probability of NaN, which they cannot write as JSON."""
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
