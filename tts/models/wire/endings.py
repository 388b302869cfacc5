"""The ends of completions: the meaning of servers' finish reasons, and endpoints that end streams without one. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tts.types import FinishReason

WITHOUT_FINISH = "finish_reason"  # among a completion's downgrades: it ended without a reason
WITHOUT_STOP = "stop_reason"  # likewise: nobody knows whether one of the request's stop strings ended it
UNSAID: Mapping[str, str] = {  # what becomes of it, said of a server
    WITHOUT_FINISH: "gives no finish reason: a stream that it ends in order is taken for a whole completion",
    WITHOUT_STOP: "does not say whether a stop string ended a text: where a strategy has set the string, none votes",
}
_ENOUGH = 3  # streams, before an end without a reason is taken for an endpoint's way of ending
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "stop_sequence": "stop", "word": "stop", "end_turn": "stop",
    "length": "length", "limit": "length", "max_tokens": "length", "model_length": "length",
    "content_filter": "content_filter", "safety": "content_filter",
    "tool_calls": "tool_calls", "function_call": "tool_calls",
}  # fmt: skip


def normalise_finish(reason: str) -> FinishReason:
    """A server's finish reason, in OpenAI's words; `other` for one that is not known."""
    return _FINISH.get(reason.lower(), "other")


class Endings:
    """The ends of one endpoint's streams, but for those that were cut.

    A stream that ends without a finish reason and `[DONE]` may be a part of a completion: a gateway whose engine died
    can end it in order. So it fails, unless no stream of the endpoint ever had a reason, and this is the third. From
    the first reason on, no stream without one is taken for a whole completion.
    """

    def __init__(self) -> None:
        self._reasons = False
        self._without = 0

    def with_reason(self) -> None:
        """Note a stream that ended with a finish reason, or with `[DONE]`."""
        self._reasons = True

    def without_reason(self) -> bool:
        """Note a stream that ended in order, with text, and with neither. Returns whether this endpoint ends all so."""
        self._without += 1
        return not self._reasons and self._without >= _ENOUGH
