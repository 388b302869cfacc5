"""The meaning of a server's failure for the run: the request is asked for again, it has failed for good, or the run
stops.

An outage decides no trial. A request fails for good only if the fault is its own: if it fails again and again where
requests that left later are answered. Where no request is answered any more, the run waits, and then stops so that the
same command goes on. Pure: time is a number, the run's clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from tts.core.retry import FIRST_S, LONGEST_S
from tts.errors import TTSError
from tts.types import ErrorInfo

PATIENCE_S = 300.0
MOST_TRIES = 6
# Failures of the server, or of the way to it, and not of the request.
_FAILURES = frozenset(["Unreachable", "Overloaded", "ServerFailed", "StreamBroken", "TimedOut"])
_FAULTS = frozenset(["Unauthorized", "NoCredit", "ModelNotFound", "BadResponse"])  # waiting alone does not mend them
OUTAGES = _FAILURES | _FAULTS
# The number of requests in flight among those that have failed so often: one of them may be what fells the engine for
# all others, and is found by trying suspects in ever smaller groups.
_AT_ONCE = {2: 64, 3: 8}

_CHANCE = 1e-4

# Ends of messages, for who has started a run.
RESUMES = ": the run stops, and the same command goes on from there."
STOPS = ": the run stops at once."

Verdict = float | Literal["final", "stop"]


class _Trouble:
    """A request that has failed."""

    def __init__(self, granted: int) -> None:
        self.tries = 0
        self.refused = 0  # tries that the server answered with an error
        self.alone = 0  # tries at a server that had answered a request that left later
        self.last = granted  # the number of grants when it last left or failed


class Outages:
    """The failures of one run.

    Args:
        patience_s: time that the run goes on while no request is answered.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s
        self._grants = 0
        self._numbers: dict[str, int] = {}  # id -> the number of its grant, while it is in flight
        self._answered: dict[str, int] = {}  # server -> the number of the latest grant that it has answered
        self._troubled: dict[str, _Trouble] = {}
        self._answers: Counter[str] = Counter()  # by server
        self._recovered: Counter[str] = Counter()  # by server: errors to requests that were answered later
        self._levels: Counter[int] = Counter()  # number of failures alone -> requests in flight with as many
        self.since_s = math.inf  # time of the first failure after the last answer
        self.answering = True  # whether the last that was heard of a server is an answer
        self.last = ""  # the last failure, in a sentence

    def may_leave(self, id: str) -> bool:
        """Whether the request may be sent now, beside others under the same suspicion."""
        trouble = self._troubled.get(id)
        if trouble is None or trouble.alone < 2:
            return True
        peers = sum(number for level, number in self._levels.items() if level >= trouble.alone)
        return peers < _AT_ONCE.get(trouble.alone, 1)

    def left(self, id: str) -> None:
        """Note that a granted request leaves."""
        self._grants += 1
        self._numbers[id] = self._grants
        if trouble := self._troubled.get(id):
            self._levels[trouble.alone] += 1

    def back(self, id: str) -> None:
        """Note that a request is no longer in flight, and will be sent again."""
        if self._numbers.pop(id, None) is not None and (trouble := self._troubled.get(id)):
            self._levels[trouble.alone] -= 1

    def answered(self, id: str, by: str) -> None:
        """Note that a server has answered a request; `by` names the server."""
        self._answers[by] += 1
        if trouble := self._troubled.get(id):
            self._recovered[by] += trouble.refused
        number = self._numbers.get(id, 0)
        if number > self._answered.get(by, -1):
            self._answered[by] = number
        self.since_s, self.answering = math.inf, True
        self.ended(id)

    def ended(self, id: str) -> None:
        """Note that a request has ended for good."""
        if self._troubled:
            self.back(id)
            self._troubled.pop(id, None)
        else:  # as for most samples of most runs
            self._numbers.pop(id, None)
        if not self._troubled:
            self.since_s = math.inf

    def failed(self, id: str, error: ErrorInfo, at_s: float, by: str) -> Verdict:
        """Judge a failure: the seconds after which to ask again, `final`, or `stop`."""
        if error.type not in OUTAGES or error.facts.get("phase") == "total" or error.facts.get("alone"):
            return "final"
        trouble = self._troubled.setdefault(id, _Trouble(self._numbers.get(id, self._grants)))
        self.back(id)
        trouble.tries += 1
        trouble.refused += error.type == "ServerFailed"
        if self._answered.get(by, 0) > trouble.last and "pause_s" not in error.facts:
            trouble.alone += 2 if error.type == "TimedOut" else 1  # a timeout takes minutes
        trouble.last, self.last = self._grants, error.message
        self.answering = False
        self.since_s = min(self.since_s, at_s - error.facts.get("waited_s", 0.0))
        if trouble.alone >= MOST_TRIES and self._is_no_chance(trouble.alone, by):
            return "final"
        if at_s - self.since_s >= self.patience_s:
            return "stop"
        hopeless = trouble.tries >= MOST_TRIES or self._is_misnamed(error, by)
        if error.type in _FAULTS and not trouble.alone and hopeless:
            return "stop"
        return min(LONGEST_S, FIRST_S * 2.0 ** min(trouble.tries - 1, 8))

    def _is_misnamed(self, error: ErrorInfo, by: str) -> bool:
        """Whether the address is of another protocol, or the model served by no endpoint: a server that has answered
        before is rather restarting, and so is one that serves no model at all."""
        served = error.facts.get("served")
        no_model = error.type == "ModelNotFound" and error.facts.get("everywhere") and served != []
        return bool(error.facts.get("foreign") or no_model) and by not in self._answered

    def _is_no_chance(self, tries: int, by: str) -> bool:
        """Whether a server that gives errors to some requests at random would not give so many to one."""
        share = self._recovered[by] / max(1, self._recovered[by] + self._answers[by])
        return share**tries < _CHANCE

    def explained(self, id: str, error: ErrorInfo, verdict: Verdict) -> ErrorInfo:
        """Add the verdict's evidence to the error."""
        trouble = self._troubled.get(id)
        if trouble is None or error.type not in OUTAGES:
            return error
        facts: Mapping[str, object] = {**error.facts, "tries": trouble.tries}
        why = f"It failed {trouble.tries} times while requests that left later were answered."
        if verdict == "stop":
            why = f"No request has been answered since{RESUMES}"
            if trouble.tries == 1 and (error.facts.get("everywhere") or error.facts.get("foreign")):
                why = f"No request had been answered before{STOPS}"
        return ErrorInfo(error.type, f"{error.message} {why}", facts)


def is_outage(error: ErrorInfo | TTSError) -> bool:
    """Whether the server failed, or the way to it, and not the request."""
    kind = error.type if isinstance(error, ErrorInfo) else type(error).__name__
    return kind in OUTAGES


def was_its_own(error: ErrorInfo) -> bool:
    """Whether a failure was found to be the fault of its request, and not of the server."""
    return "tries" in error.facts or "alone" in error.facts
