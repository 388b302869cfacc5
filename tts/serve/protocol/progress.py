"""Progress of a search in events with types, for streams whose request has `tts: {"events": true}`.

`tts.candidate.started` {id}; `.finished` {id, tokens, finish_reason}; `.cancelled` {id, tokens}; `.failed` {id, error};
`.scored` {id, verifier, value, scale}: a candidate. `tts.verification.started`, `.finished` ...: a text that helps to
decide. `tts.decided` {selected, answer, candidates}: the strategy has chosen; requests that it does not need any more
may still be under way. `tts.dropped` {events}: the client reads too slowly, and so many events were left out. Each has
`type` and `seconds`, since the search began. `id` is the request's number in the search, the same in all of them.
"""

from __future__ import annotations

from typing import Any

from tts.core.actions import Cancelled, Event, Failed, Finished, Generate, Scored, Verify
from tts.core.result import Result
from tts.serve.protocol.replies import event

MOST_WAITING = 4096  # events that a client has not read


class TypedEvents:
    """The events of one search that were not sent yet."""

    def __init__(self) -> None:
        self._waiting: list[dict[str, Any]] = []
        self._dropped = 0
        self._begun: dict[str, Generate | Verify] = {}

    def began(self, action: Generate | Verify, seconds: float) -> None:
        """A request has left."""
        self._begun[action.id] = action
        self._add(f"tts.{_what(action)}.started", seconds, id=_number(action.id))

    def heard(self, told: Event, seconds: float) -> None:
        """An event of a request."""
        action = self._begun.get(told.id)
        if action is None:
            return
        kind, id = f"tts.{_what(action)}", _number(told.id)
        if isinstance(told, Finished):
            tokens = told.completion.usage.completion_tokens
            self._add(f"{kind}.finished", seconds, id=id, tokens=tokens, finish_reason=told.completion.finish_reason)
        elif isinstance(told, Scored) and isinstance(action, Verify):
            score = {"verifier": action.verifier, "value": told.score.value, "scale": told.score.kind}
            self._add("tts.candidate.scored", seconds, id=_number(action.candidate.id), **score)
        elif isinstance(told, Cancelled):
            self._add(f"{kind}.cancelled", seconds, id=id, tokens=told.completion.usage.completion_tokens)
        elif isinstance(told, Failed):
            error = {"type": told.error.type, "message": told.error.message}
            self._add(f"{kind}.failed", seconds, id=id, error=error)

    def decided(self, result: Result, seconds: float) -> None:
        """The strategy has chosen."""
        selected = None if result.selected is None else _number(result.selected.id)
        self._add("tts.decided", seconds, selected=selected, answer=result.answer, candidates=len(result.candidates))

    def take(self) -> bytes:
        """Those that wait, as a piece of a stream."""
        waiting, self._waiting = self._waiting, []
        if self._dropped:
            waiting.append({"type": "tts.dropped", "events": self._dropped})
            self._dropped = 0
        return b"".join(event(each, each["type"]) for each in waiting)

    def _add(self, kind: str, seconds: float, **fields: Any) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
        else:
            self._waiting.append({"type": kind, "seconds": round(seconds, 4), **fields})


def _what(action: Generate | Verify) -> str:
    return "candidate" if isinstance(action, Generate) and not action.helps else "verification"


def _number(id: str) -> str:
    return id.rpartition("/")[2]
