"""A cluster that ends actions in flight in any order, for tests of budgets."""

from __future__ import annotations

import random
from collections.abc import Callable

from tts.core.actions import Action, Cancel, Cancelled, End, Failed, Finished, Generate, Scored, Verify, Woke, Work
from tts.core.journal.records import Record
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Step
from tts.types import Completion, ErrorInfo, Score, Timing, Usage


class Disorder:
    """Drives a scheduler; every draw is a function of the seed.

    Args:
        seed: of the order of events, of lengths, answers, scores, failures.
        answers: number of different ones; some samples have none.
        failures: the chance that a request fails, having generated a part.
        after: called with the scheduler after each step.

    Attributes:
        records: as the journal would hold them; results: by trial.
    """

    def __init__(
        self,
        seed: int,
        *,
        answers: int = 3,
        failures: float = 0.1,
        after: Callable[[Scheduler], None] = lambda scheduler: None,
    ) -> None:
        self.records: list[Record] = []
        self.results: dict[str, Result] = {}
        self._random = random.Random(seed)
        self._answers = answers
        self._failures = failures
        self._after = after
        self._live: dict[str, Work] = {}
        self._cancelled: set[str] = set()
        self._now = 0.0

    def run(self, scheduler: Scheduler, most: int | None = None) -> bool:
        """Run until the scheduler is done, or has been told `most` events. Returns whether it is done."""
        self._do(scheduler, scheduler.start())
        count = 0
        while not scheduler.done and (most is None or count < most):
            if not self._live:
                raise AssertionError("the scheduler waits, and nothing is in flight")
            event = self._end(self._random.choice(list(self._live)))
            self.records.append(event)
            self._do(scheduler, scheduler.tell([event]))
            count += 1
        return scheduler.done

    def _do(self, scheduler: Scheduler, step: Step) -> None:
        self.records += step.records
        for action in step.actions:
            self._take(action)
        self.results |= {result.id: result for result, _ in step.results}
        self._after(scheduler)

    def _take(self, action: Action) -> None:
        if not isinstance(action, Cancel):
            self._live[action.id] = action
        elif action.id in self._live:
            self._cancelled.add(action.id)

    def _end(self, id: str) -> End:
        action, draw = self._live.pop(id), self._random
        self._now += draw.random()
        if not isinstance(action, Generate | Verify):
            return Woke(id, self._now)
        most = action.request.sampling.token_limit if action.request else 0
        used = Usage(3, draw.randint(min(1, most), most))
        timing = Timing(draw.random())
        if id in self._cancelled and draw.random() < 0.8:  # else it ended before the cancellation came
            return Cancelled(id, self._now, Completion("", "cancelled", used, timing))
        if draw.random() < self._failures:
            return Failed(id, self._now, ErrorInfo("ServerFailed", "it was told to"), used, timing)
        if isinstance(action, Verify):
            value = draw.choice((None, draw.random(), draw.random()))
            return Scored(id, self._now, Score(value, action.verifier), used, timing)
        said = draw.randint(0, self._answers)
        text = f"Answer: {said}" if said else "I do not know"
        return Finished(id, self._now, Completion(text, usage=used, timing=timing))
