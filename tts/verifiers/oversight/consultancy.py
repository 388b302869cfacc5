"""Consultancy: one side argues for an answer before a judge."""

from __future__ import annotations

from collections.abc import Sequence

from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.judging.hearings import KIND, Hearing, Speech
from tts.types import Candidate, Problem, Score


class Consultancy:
    """Let a consultant argue for one of two answers, and ask a judge which is right; once for either answer.

    Kenton et al. (2024), arXiv:2407.04622, section 3.1. Differences from the paper: the two answers are the run's own,
    of which none need be right; the judge asks nothing, and hears `turns` speeches in a row; each is the first of one
    sample, not the best of 4; the judge checks before its verdict.

    An abstention: of a candidate without an answer, of an answer with fewer candidates than the `most` leading ones, of
    one that is alone, and of one without a readable verdict.

    Args:
        open: whether the consultant argues for the answer that it takes for the right one itself; else for either
            answer in turn, and both verdicts count.
        turns: number of speeches.
        blind: whether the numbers of the problem are hidden from the judge.
        most: number of answers compared, those with the most candidates; each with each.
        games: verdicts on two answers in each order; above 1, at a temperature of 0.7.
        max_tokens: of a verdict, and of a speech.
        model: name of the judging model in the cluster; None is the generating one.
        debater: name of the arguing model; None is the generating one.
    """

    name = "consultancy"
    kind = KIND

    def __init__(
        self,
        *,
        open: bool = False,
        turns: int = 1,
        blind: bool = False,
        most: int = 2,
        games: int = 1,
        max_tokens: int = 512,
        model: str | None = None,
        debater: str | None = None,
    ) -> None:
        require(turns >= 1, "turns", "at least 1", turns)
        self._hearing = Hearing(self.name, blind, games, most, max_tokens, model, debater)
        self._hearing.check()
        self._open, self._turns = open, turns

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """P(right) of the candidates' answers."""

        async def consulted(a: str, b: str) -> Sequence[Speech]:
            side = await self._hearing.chosen(problem, run, a, b) if self._open else a
            said: list[Speech] = []
            for _ in range(self._turns):
                said.append(await self._hearing.speech(problem, run, "Alice", side, said))
            return said

        return await self._hearing.scores(problem, candidates, run, consulted)
