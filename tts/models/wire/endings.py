"""Whether an endpoint says that a completion is finished, or just ends its streams. Pure."""

from __future__ import annotations

WITHOUT_FINISH = "finish_reason"  # among a completion's downgrades: nobody said why it ended
_ENOUGH = 3  # streams, before an end without a reason is taken for an endpoint's way of ending


class Endings:
    """How the streams of one endpoint have ended that were not cut.

    A stream that ends without a finish reason and `[DONE]` may be a part of a completion: a gateway whose engine died
    can end it in order. So it fails, unless no stream of the endpoint ever had a reason, and this is the third. From
    the first reason on, no stream without one is taken for a whole completion.
    """

    def __init__(self) -> None:
        self._reasons = False
        self._without = 0

    def with_reason(self) -> None:
        """A stream has ended with a finish reason, or with `[DONE]`."""
        self._reasons = True

    def without_reason(self) -> bool:
        """One has ended in order, with text, and with neither: whether that is how this endpoint ends them."""
        self._without += 1
        return not self._reasons and self._without >= _ENOUGH
