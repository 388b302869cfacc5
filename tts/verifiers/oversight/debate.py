"""Debate: two sides argue for two answers before a judge."""

from __future__ import annotations

from collections.abc import Sequence

from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.judging.hearings import KIND, Hearing, Speech
from tts.types import Candidate, Problem, Score


class Debate:
    """Let two debaters argue for two answers, and ask a judge which is right; with both assignments.

    Kenton et al. (2024), arXiv:2407.04622, section 3.1, after Irving et al. (2018), arXiv:1805.00899.
    Differences from the papers: the two answers are the run's own, of which none need be right; one turn, where Kenton
    et al. have three (their number made no difference there); a speech is one sample, not the best of 4; no private
    scratchpad; the judge checks before its verdict.

    An abstention: of a candidate without an answer, of an answer with fewer candidates than the `most` leading ones, of
    one that is alone, and of one without a readable verdict.

    Args:
        open: whether the first speaker argues for the answer that it takes for the right one itself.
        turns: number of speeches of each side.
        simultaneous: whether the sides of a turn do not hear each other; else the second hears the first.
        blind: whether the numbers of the problem are hidden from the judge.
        most: number of answers compared, those with the most candidates; each with each.
        games: verdicts on two answers in each order; above 1, at a temperature of 0.7.
        max_tokens: of a verdict, and of a speech.
        model: name of the judging model in the cluster; None is the generating one.
        debater: name of the arguing model; None is the generating one.
    """

    name = "debate"
    kind = KIND

    def __init__(
        self,
        *,
        open: bool = False,
        turns: int = 1,
        simultaneous: bool = True,
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
        self._open, self._turns, self._simultaneous = open, turns, simultaneous

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """P(right) of the candidates' answers."""

        async def debated(a: str, b: str) -> Sequence[Speech]:
            first = await self._hearing.chosen(problem, run, a, b) if self._open else a
            sides = (("Alice", first), ("Bob", b if first == a else a))
            said: list[Speech] = []
            for _ in range(self._turns):
                said += await self._turn(problem, run, sides, said)
            return said

        return await self._hearing.scores(problem, candidates, run, debated)

    async def _turn(
        self, problem: Problem, run: Run, sides: Sequence[tuple[str, str]], before: Sequence[Speech]
    ) -> list[Speech]:
        if self._simultaneous:
            return await run.gather(*(self._hearing.speech(problem, run, *side, before) for side in sides))
        said: list[Speech] = []
        for side in sides:
            said.append(await self._hearing.speech(problem, run, *side, [*before, *said]))
        return said
