"""A judge of pairs: which of two solutions is better, asked in both orders, for any number of solutions."""

from __future__ import annotations

from collections.abc import Sequence

from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.judging.fitting import fitted
from tts.toolkit.judging.games import Game, played, scores
from tts.toolkit.judging.replies import Read, replies, temperature_of
from tts.toolkit.labels import ENOUGH_MASS, masses
from tts.toolkit.pairwise import Decision
from tts.toolkit.prompts.pairs import AT_ONCE, COMPARE, REPAIR, comparison, decision
from tts.toolkit.prompts.solutions import shown
from tts.types import Candidate, Completion, Problem, Score, ScoreKind

VALUES: dict[Decision, tuple[float, float]] = {"A>B": (1.0, 0.0), "B>A": (0.0, 1.0), "A=B": (0.5, 0.5)}
AT_ONCE_TOKENS = 8  # of a verdict alone, whose log-probabilities are then among those that are kept


class Pairwise:
    """Ask which of two solutions is better, in both orders; a solution's score is the part of its games that it wins.

    Li et al. (2024), Arena-Hard, arXiv:2406.11939, and Tan et al. (2025), JudgeBench, arXiv:2410.12784: two games with
    swapped order, of which a tie and an unreadable verdict count for neither; the judge is asked once more for a
    verdict that cannot be read. Zheng et al. (2023), arXiv:2306.05685: `consistent`, a win needs both orders.
    A score is (wins + ties / 2) / games, over the games with all others, or with the pivots alone. Two equal solutions
    tie unasked. An abstention: of an empty solution, of one that is alone, and of one without a readable game.
    Differences from the papers: three verdicts, not five; the judge does not first answer by itself; an unreadable game
    is left out of a mean, and counted in the score.

    Args:
        games: number of times that each order is asked; above 1, at a temperature of 0.7.
        reasons: whether the judge gives its reasons and then its verdict; else the verdict alone, in a few tokens.
        expected: whether a game's value is the expectation of the verdict, P(A) + P(C) / 2 from log-probabilities,
            where the three labels hold half of the probability there; else it is that of the text.
        consistent: whether two games with swapped order that disagree are two ties, and one without the other is none.
        swapped: whether each pair is shown in the other order, too; without it, `tts judge --orders 2` shows them
            in the other order in a pass of its own, and `tts judge report` compares the two.
        pivots: number of solutions, the first ones, that all others are compared with; 0: all pairs.
        max_tokens: of a comparison.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "pairwise"
    kind: ScoreKind = "probability"

    def __init__(
        self,
        *,
        games: int = 1,
        reasons: bool = True,
        expected: bool = False,
        consistent: bool = False,
        swapped: bool = True,
        pivots: int = 0,
        max_tokens: int = 512,
        model: str | None = None,
    ) -> None:
        require(games >= 1, "games", "at least 1", games)
        require(pivots >= 0, "pivots", "at least 0", pivots)
        require(max_tokens >= 1, "max_tokens", "at least 1", max_tokens)
        require(swapped or not consistent, "swapped", "true where consistent is, which compares two orders", swapped)
        self.games = games
        self.reasons = reasons
        self.expected = expected
        self.consistent = consistent
        self.swapped = swapped
        self.pivots = pivots
        self.max_tokens = max_tokens
        self.model = model

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of candidates by their games with one another."""

        async def play(a: str, b: str) -> list[Game]:
            return await self._games(problem.prompt, a, b, run)

        texts = [shown(candidate.text) for candidate in candidates]
        joined = _agreed if self.consistent else _both
        tallies = await played(run, texts, play, pivots=self.pivots, swapped=self.swapped, joined=joined)
        return scores(tallies, texts, self.name, self.kind)

    async def _games(self, problem: str, a: str, b: str, run: Run) -> list[Game]:
        if a == b:
            return [Game(VALUES["A=B"], asked=False)] * self.games
        template = COMPARE if self.reasons else AT_ONCE
        tokens = self.max_tokens if self.reasons else min(self.max_tokens, AT_ONCE_TOKENS)
        found = await fitted(run, lambda texts: comparison(problem, texts[0], texts[1], template), (a, b), tokens)
        if found is None:
            return [Game(None, asked=False)] * self.games
        came: list[Read[Decision]] = await replies(
            run,
            found.prompt,
            self._decision,
            repair=REPAIR,
            n=self.games,
            temperature=temperature_of(self.games),
            max_tokens=tokens,
            top_logprobs=10 if self.expected else 0,
        )
        return [self._game(one.value, one.completion, found.left_out) for one in came]

    def _decision(self, reply: Completion) -> Decision | None:
        return decision(reply.text)

    def _game(self, said: Decision | None, reply: Completion, left_out: int) -> Game:
        if said is None:
            return Game(None, unread=True, left_out=left_out)
        labels = masses(reply, "A", "B", "C") if self.expected else None
        if labels is None:
            return Game(VALUES[said], left_out=left_out)
        mass = sum(labels.values())
        first = (labels["A"] + labels["C"] / 2) / mass if mass >= ENOUGH_MASS else VALUES[said][0]
        return Game((first, 1 - first), mass=min(1.0, mass), left_out=left_out)


def _both(*games: Game) -> Sequence[Game]:
    return games


def _agreed(one: Game, two: Game) -> Sequence[Game]:
    """Two games with swapped order: as they are where they agree, ties where they do not, none where one is unread."""
    if one.values is None or two.values is None:
        return one.without_value, two.without_value
    if (one.values[0] - one.values[1]) * (two.values[0] - two.values[1]) > 0:
        return one, two
    return one._replace(values=VALUES["A=B"]), two._replace(values=VALUES["A=B"])
