"""JudgeLM: a judge that scores two solutions from 1 to 10 in one line, in both orders."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tts.answers.extract import without_thinking
from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.judging.fitting import fitted
from tts.toolkit.judging.games import Game, played, scores
from tts.toolkit.judging.replies import replies, temperature_of
from tts.toolkit.prompts.scores import HIGHEST, LOWEST
from tts.toolkit.prompts.solutions import shown
from tts.types import Candidate, Completion, Problem, Score, ScoreKind

PAIR = """{problem}

{reference}Answer 1:
{one}

Answer 2:
{two}

Score both answers from 1 to 10 for their accuracy, helpfulness and level of detail. The first line of your reply has \
the two scores alone, that of answer 1 first, with a blank between them. Your reasons come in the lines after it. The \
order in which the answers are shown must not matter to you."""
REFERENCE = """Reference answer:
{reference}

"""
REPAIR = "No scores can be read from that. Reply with the two scores alone, from 1 to 10, such as: 7 4"
_NUMBER = r"(\d{1,2}(?:\.\d{1,3})?)"
_PAIR = re.compile(rf"\s*{_NUMBER}[ \t,/]+{_NUMBER}[ \t.]*")


class JudgeLM:
    """Score two solutions from 1 to 10 in the first line of a reply, in both orders; a solution's score is the mean.

    Zhu et al. (2023), JudgeLM, arXiv:2310.17631: scores first, then reasons; swapped order; reference support and drop.
    More than two solutions are all paired, or each with the pivots. Of equal solutions nothing is asked, and they have
    no score of one another. A solution without a score is an abstention.
    Differences from the paper: an unreadable reply is asked for once more, and then counted, in place of scores of -1;
    both orders are asked at judging, in place of swapped data in training; so is the drop of the reference.

    Args:
        games: number of times that each order is asked; above 1, at a temperature of 0.7.
        reference: name of one of the problem's `facts` that holds an answer for the judge to compare with. Who calls
            vouches for it: the reference answer by which a run is graded is none of the facts. Empty: none.
        drop: of `games`, the number that is asked without the reference, so that a wrong one does not decide alone.
        pivots: number of solutions, the first ones, that all others are compared with; 0: all pairs.
        max_tokens: of a reply.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "judgelm"
    kind: ScoreKind = "scale"

    def __init__(
        self,
        *,
        games: int = 1,
        reference: str = "",
        drop: int = 0,
        pivots: int = 0,
        max_tokens: int = 256,
        model: str | None = None,
    ) -> None:
        require(games >= 1, "games", "at least 1", games)
        require(0 <= drop <= games, "drop", f"from 0 to games, {games}", drop)
        require(pivots >= 0, "pivots", "at least 0", pivots)
        require(max_tokens >= 1, "max_tokens", "at least 1", max_tokens)
        self.games = games
        self.reference = reference
        self.drop = drop
        self.pivots = pivots
        self.max_tokens = max_tokens
        self.model = model

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of candidates by the pairs that they are shown in."""
        fact = problem.facts.get(self.reference) if self.reference else None
        reference = "" if fact is None else REFERENCE.format(reference=fact)

        async def play(one: str, two: str) -> list[Game]:
            shown_with = [(reference, self.games - self.drop), ("", self.drop)] if reference else [("", self.games)]
            found: list[Game] = []
            for text, games in shown_with:
                found += await self._games(problem.prompt, text, one, two, games, run) if games else []
            return found

        texts = [shown(candidate.text) for candidate in candidates]
        return scores(await played(run, texts, play, pivots=self.pivots), texts, self.name, self.kind)

    async def _games(self, problem: str, reference: str, one: str, two: str, games: int, run: Run) -> list[Game]:
        if one == two:
            return []
        found = await fitted(
            run,
            lambda parts: PAIR.format(problem=problem, reference=reference, one=parts[0], two=parts[1]),
            (one, two),
            self.max_tokens,
        )
        if found is None:
            return [Game(None, asked=False)] * games
        came = await replies(
            run,
            found.prompt,
            score_pair,
            repair=REPAIR,
            n=games,
            temperature=temperature_of(self.games),
            max_tokens=self.max_tokens,
        )
        return [Game(one.value, unread=one.value is None, left_out=found.left_out) for one in came]


def score_pair(reply: Completion) -> tuple[float, float] | None:
    """The two scores of a reply's first line; None where it is something else, or they are not from 1 to 10."""
    line = (without_thinking(reply.text) or "").strip().partition("\n")[0]
    found = _PAIR.fullmatch(line)
    values = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
    return values if all(LOWEST <= value <= HIGHEST for value in values) else None
