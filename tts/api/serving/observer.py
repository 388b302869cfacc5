"""What hears of one call of a client."""

from __future__ import annotations

from typing import Protocol

from tts.core.actions import Event, Generate, Verify
from tts.core.result import Result
from tts.types import Cost


class Observer(Protocol):
    """Hears of one call of a client, on the client's event loop."""

    def opened(self) -> None:
        """Note that the call may cost something from here on."""

    def heard(self, event: Event) -> None:
        """Note an event of one of the call's requests."""

    def began(self, action: Generate | Verify) -> None:
        """Note that one of the call's requests has left."""

    def decided(self, result: Result) -> None:
        """Note the answer of a call, all but its bill, whose strategy has decided before its requests have ended."""

    def paid(self, cost: Cost) -> None:
        """Note the whole cost, once no request of the call is under way any more: also of a call that was cancelled or
        has failed. Of a call that the closing of its client ended, nobody knows it, and this is not called."""
