"""Streams of problems under one allocator each, for a program that serves: the problems of a stream are never all
known.

An allocator that compares problems ranks those of a closed set; of a stream it must be able to decide on each by
itself, by what its own samples say and by the time that it has left.
"""

from __future__ import annotations

from collections.abc import Mapping

from tts.core.allocation.allocator import Allocator, Prior
from tts.core.allocation.shared_budget import SharedBudget
from tts.core.budget import Limits
from tts.core.protocols import CostModel
from tts.errors import InvalidParameter

MOST_STREAMS = 64  # that are remembered: requests may name any parameters


class Streams:
    """The streams of one server, by name, each with what it has learnt of costs and agreement.

    Args:
        costs: prices actions.
        prior: what earlier traffic says of both.
    """

    def __init__(self, costs: CostModel, prior: Prior | None = None) -> None:
        self._costs = costs
        self._prior = prior
        self._streams: dict[str, SharedBudget] = {}

    def of(self, name: str, allocator: Allocator) -> SharedBudget:
        """The stream of that name, new if it is not known. It has no limits of its own: its problems have theirs, and
        the server's ledger holds all of them."""
        found = self._streams.pop(name, None)
        if found is None:
            found = SharedBudget(name, allocator, Limits(), self._costs)
            if self._prior is not None:
                found.expect(self._prior)
            for idle in [key for key, stream in self._streams.items() if stream.idle]:
                if len(self._streams) < MOST_STREAMS:
                    break
                del self._streams[idle]
        self._streams[name] = found  # as the latest
        return found


def check_online(name: str, allocator: Allocator, known: Mapping[str, Allocator]) -> None:
    """Refuse an allocator that must compare all problems. Raises: InvalidParameter.

    Args:
        known: allocators to choose from.
    """
    if allocator.online:
        return
    others = ", ".join(other for other, made in known.items() if made.online)
    raise InvalidParameter(
        f"the allocator {name} ranks the problems of a closed set, and those of a server are never all known: choose "
        f"one that decides on each by itself ({others})",
        name="allocator",
    )
