"""The baseline of oversight: a judge decides between answers for which nobody argues."""

from __future__ import annotations

from collections.abc import Sequence

from tts.core.trials.context import Run
from tts.toolkit.judging.hearings import KIND, Hearing, Speech
from tts.types import Candidate, Problem, Score


class QA:
    """Ask which of two answers is right, in both orders, without an argument for either.

    Kenton et al. (2024), arXiv:2407.04622, section 3.1 (direct question answering, without the article where `blind`).
    Differences from the paper: the two answers are the run's own, of which none need be right; the judge checks before
    its verdict.

    An abstention: of a candidate without an answer, of an answer with fewer candidates than the `most` leading ones, of
    one that is alone, and of one without a readable verdict.

    Args:
        blind: whether the numbers of the problem are hidden from the judge.
        most: number of answers compared, those with the most candidates; each with each.
        games: verdicts on two answers in each order; above 1, at a temperature of 0.7.
        max_tokens: of a verdict.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "qa"
    kind = KIND

    def __init__(
        self, *, blind: bool = False, most: int = 2, games: int = 1, max_tokens: int = 512, model: str | None = None
    ) -> None:
        self._hearing = Hearing(self.name, blind, games, most, max_tokens, model, None)
        self._hearing.check()

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """P(right) of the candidates' answers."""

        async def silence(a: str, b: str) -> Sequence[Speech]:
            return ()

        return await self._hearing.scores(problem, candidates, run, silence)
