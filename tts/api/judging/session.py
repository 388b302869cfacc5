"""The strategy of a run of judges: its candidates are recorded ones, and it asks a judge about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from tts.core.protocols import Strategy
from tts.core.trials.context import Run
from tts.pools.recorded import RecordedGroup
from tts.runs.judgements import Judgement
from tts.types import Candidate, Problem


class JudgingSession:
    """The candidates that judges are shown, and the scores that they have given.

    Attributes:
        groups: by the id of their problem.
        given: by judge and problem id.
    """

    def __init__(self, groups: Sequence[RecordedGroup]) -> None:
        self.groups: Mapping[str, RecordedGroup] = {group.problem.id: group for group in groups}
        self.given: dict[tuple[str, str], list[Judgement]] = {}

    @property
    def problems(self) -> list[Problem]:
        return [group.problem for group in self.groups.values()]

    @property
    def candidates(self) -> int:
        return sum(len(group.candidates) for group in self.groups.values())

    @cached_property
    def strategy(self) -> Strategy:
        """The strategy `judged`, which returns its first candidate, and leaves the scores in `given`."""

        async def judged(
            problem: Problem, run: Run, *, verifier: str = "judge", repeats: int = 1, orders: int = 1
        ) -> Candidate:
            group = self.groups[problem.id]
            found: list[Judgement] = []
            for order in range(orders):
                shown = group.candidates[:: -1 if order else 1]
                before = {candidate.id: len(run.scores.get(candidate.id, ())) for candidate in shown}
                await run.verify(shown, verifier, repeats=repeats)
                found += _given(group, run, verifier, order, before)
            self.given[verifier, problem.id] = found
            return group.candidates[0]

        return judged

    def judgements(self, judge: str) -> list[Judgement]:
        """All of one judge, problem by problem."""
        return [one for id in self.groups for one in self.given.get((judge, id), ())]


def _given(group: RecordedGroup, run: Run, verifier: str, order: int, before: Mapping[str, int]) -> list[Judgement]:
    """The scores that have come since there were so many `before` of each candidate."""
    return [
        Judgement(
            judge=verifier,
            benchmark=group.benchmark,
            model=group.model,
            problem_id=group.problem_id,
            sample_id=sample,
            order=order,
            value=score.value,
            kind=score.kind,
            mass=score.mass,
            verdicts=score.verdicts,
            unread=score.unread,
            text=score.text,
        )
        for sample, candidate in zip(group.samples, group.candidates, strict=True)
        for score in run.scores.get(candidate.id, ())[before[candidate.id] :]
    ]
