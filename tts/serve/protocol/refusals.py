"""Errors in OpenAI's shape, with the HTTP status of each error of the library."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from tts.core.outages import RESUMES, STOPS
from tts.errors import (
    AllFailed,
    BudgetExhausted,
    BudgetTooSmall,
    ContextTooLong,
    DeadlineExceeded,
    EndpointError,
    Interrupted,
    MissingExtra,
    Overloaded,
    RequestRejected,
    RunError,
    TimedOut,
    TTSError,
    UnknownName,
    UsageError,
)
from tts.types import ErrorInfo

AGAIN_S = 1  # to wait before a request that others crowd out is sent again
STOPPING = "the server is stopping: ask another"
_KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_PARAMS = {"prompt": "messages", "tools": "tools"}  # of the library -> of a request


class Refusal(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP. message: for the person who has sent it.
        code: for programs; param: the field that is wrong.
        again_s: seconds after which it may be sent again; infinite: sending it again is of no use.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, again_s: float = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.again_s = again_s

    @property
    def fields(self) -> dict[str, Any]:
        """Its arguments, by name, for another process."""
        return {name: getattr(self, name) for name in ("status", "message", "code", "param", "again_s")}

    @property
    def reason(self) -> str:
        """For counting: the code, or the status."""
        return self.code or str(self.status)

    @property
    def body(self) -> dict[str, Any]:
        kind = _KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        if not self.again_s:
            return {}
        if math.isinf(self.again_s):  # OpenAI's clients would repeat a 429 otherwise
            return {"retry-after": "86400", "x-should-retry": "false"}
        return {"retry-after": str(math.ceil(self.again_s))}


def refusal_of(error: TTSError) -> Refusal:
    """The refusal that an error of the library becomes."""
    facts, message = error.facts, error.message
    if isinstance(error, AllFailed) and "cause" in facts:
        return refusal_of(msgspec.convert(facts["cause"], ErrorInfo).rebuild())
    if isinstance(error, EndpointError):
        return _of_the_server(error)
    if isinstance(error, UsageError) and not isinstance(error, MissingExtra):
        return _of_the_request(error)
    if isinstance(error, BudgetExhausted | DeadlineExceeded):
        return _out_of_budget(error)
    if isinstance(error, Interrupted):
        return Refusal(503, message, code="stopping", again_s=AGAIN_S)
    code = "storage_failed" if isinstance(error, RunError) else "strategy_failed"
    return Refusal(500, f"{type(error).__name__}: {message}", code=code)


def _of_the_request(error: UsageError) -> Refusal:
    kind, known = error.facts.get("kind"), error.facts.get("known", ())
    if isinstance(error, BudgetTooSmall):
        message = error.message.replace(f" of problem {error.facts.get('problem')}", "")
        return Refusal(400, message, code="budget_too_small", param="tts.budget")
    if isinstance(error, UnknownName) and kind == "model" and "solver" in known:  # a role that the strategy asks
        return Refusal(400, f"{error.message} That is said where the server is started.", param="tts.strategy")
    if isinstance(error, UnknownName) and kind in ("strategy", "model"):
        return Refusal(404, error.message, code=f"{kind}_not_found", param="model")
    return Refusal(
        400, error.message, param=_PARAMS.get(error.facts.get("name") or error.facts.get("capability") or "")
    )


def _of_the_server(error: EndpointError) -> Refusal:
    message = error.message.replace(RESUMES, ".").replace(STOPS, ".")  # a server goes on
    if isinstance(error, ContextTooLong):
        return Refusal(400, error.message, code="context_length_exceeded", param="messages")
    if isinstance(error, RequestRejected):
        return Refusal(400, error.message, code="rejected_by_model_server")
    if isinstance(error, Overloaded):
        return Refusal(503, message, code="overloaded", again_s=error.facts.get("retry_after_s") or AGAIN_S)
    if isinstance(error, TimedOut):
        return Refusal(504, message, code="model_server_timed_out")
    return Refusal(502, f"{type(error).__name__}: {message}", code="model_server_failed")


def _out_of_budget(error: TTSError) -> Refusal:
    if isinstance(error, DeadlineExceeded) or error.facts.get("limit") == "seconds":
        return Refusal(504, "the deadline passed before there was an answer", code="deadline_exceeded")
    return Refusal(400, error.message, code="budget_too_small", param="tts.budget")
