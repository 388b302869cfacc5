"""The order in which trials of the plan are opened, and the problems whose samples later trials can still use."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator
from itertools import chain

from tts.core.scheduling.sample_reuse import SampleReuse
from tts.core.scheduling.steps import Planned


class Agenda:
    """The plan, trial by trial.

    Args:
        plan: problem by problem.
        decided: ids of trials that an earlier session has decided: they are passed over.
        restoring: ids of trials that are still to be restored; they come first.
        samples: forgotten, problem by problem, once the trials of a problem have all closed and the plan has gone on.

    Attributes:
        is_over: whether the plan has ended.
    """

    def __init__(
        self, plan: Iterable[Planned], decided: Container[str], restoring: set[str], samples: SampleReuse
    ) -> None:
        self.is_over = False
        self._plan: Iterator[Planned] = iter(plan)
        self._decided = decided
        self._restoring = restoring
        self._samples = samples
        self._passed_by: deque[Planned] = deque()  # trials that wait for others to be restored first
        self._trials: Counter[str] = Counter()  # problem -> its open trials
        self._latest = ""  # the plan's current problem

    def has_more(self) -> bool:
        """Whether a trial of the plan was not decided in an earlier session."""
        passed: list[Planned] = []
        more = False
        for planned in self._plan:
            passed.append(planned)
            if more := planned.id not in self._decided:
                break
        self._plan = chain(passed, self._plan)
        return more

    def next(self) -> Planned | None:
        """The next trial that is not decided; None if there is none, or none that has to be restored. A run that was
        extended may have new ones before those, which wait their turn."""
        if self._passed_by and not self._restoring:
            planned = self._passed_by.popleft()
            self._trials[planned.problem.id] -= 1
            return planned
        for planned in self._plan:
            if planned.id in self._decided:
                continue
            before, self._latest = self._latest, planned.problem.id
            self._forget(before)
            if not self._restoring or planned.id in self._restoring:
                return planned
            self._passed_by.append(planned)
            self._trials[planned.problem.id] += 1  # so that its samples stay
        self.is_over = not self._restoring
        self._restoring.clear()
        return None

    def opened(self, problem: str) -> None:
        """Note that a trial of this problem has begun."""
        self._trials[problem] += 1
        self._samples.recall(problem)

    def closed(self, problem: str) -> None:
        """Note that a trial of this problem has ended."""
        self._trials[problem] -= 1
        self._forget(problem)

    def _forget(self, problem: str) -> None:
        if problem != self._latest and self._trials[problem] <= 0:
            del self._trials[problem]
            self._samples.forget(problem)
