"""DeepSeek-GRM: scores by principles that the judge states first, in several critiques, of which the soundest count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from tts.answers.extract import without_thinking
from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.judging.fitting import fitted
from tts.toolkit.judging.games import Game, Tally, scores
from tts.toolkit.judging.replies import Read, replies
from tts.toolkit.prompts.scores import HIGHEST, LOWEST, REPAIR, by_principles, score
from tts.toolkit.prompts.solutions import numbered, shown
from tts.types import Candidate, Completion, Problem, Score, ScoreKind

TEMPERATURE = 0.5  # the paper's
ITSELF = "itself"
META_TOKENS = 64  # of a score alone
TOGETHER = """{problem}

{solutions}

Score each solution from 1 to 10. First state the principles that you judge them by, with their weights; then \
criticise each solution; then end with one line that has their scores in order, such as "Scores: [7, 4]"."""
REPAIR_TOGETHER = 'No scores can be read from that. Reply with one line alone, such as "Scores: [7, 4]".'
SOUND = """{problem}

{of}

A critique of it:
{critique}

How sound is the critique? Score it from 1 to 10: is what it says true, and does its score follow from it? Reply with \
the line "Score: N" alone."""
_SCORES = re.compile(r"\[([\d\s,]{1,400})\][\s.*]*\Z")


class Vote(NamedTuple):
    """One critique of texts, in the order in which the judge saw them, with the score of each."""

    texts: Sequence[str]
    game: Game
    critique: str


class GRM:
    """State principles, criticise by them, and score from 1 to 10: `k` times, of which the mean is taken.

    Liu et al. (2025), Inference-Time Scaling for Generalist Reward Modeling, arXiv:2504.02495: votes add up to a finer
    scale than one has; all solutions in one prompt are shuffled for each vote (`together`); a meta reward model keeps
    the soundest half of the votes (`meta`). A solution without a readable vote is an abstention.
    Differences from the paper: the mean of the votes that can be read, in place of the sum of all, so that an unread
    one ranks nobody lower; by default each solution is judged by itself; nothing is trained for it; the meta reward
    model is a chat model that is asked for a number, and where none of its replies can be read, all votes are kept.

    Args:
        k: number of votes; above 1, at a temperature of 0.5.
        together: whether the judge sees all solutions in one prompt.
        meta: who scores the critiques: a role of the run's models, or `itself`, the judging model; empty: nobody.
        k_meta: number of votes that are kept by it; 0: half of them, rounded up.
        max_tokens: of a vote.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "grm"
    kind: ScoreKind = "scale"

    def __init__(
        self,
        *,
        k: int = 4,
        together: bool = False,
        meta: str = "",
        k_meta: int = 0,
        max_tokens: int = 512,
        model: str | None = None,
    ) -> None:
        require(k >= 1, "k", "at least 1", k)
        require(0 <= k_meta <= k, "k_meta", f"from 0 to k, {k}", k_meta)
        require(max_tokens >= 1, "max_tokens", "at least 1", max_tokens)
        self.k = k
        self.together = together
        self.meta = meta
        self.k_meta = k_meta
        self.max_tokens = max_tokens
        self.model = model

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of candidates by the mean of their votes. Raises: UnknownName for a meta role that the run does
        not have."""
        texts = [shown(candidate.text) for candidate in candidates]
        distinct = [*dict.fromkeys(filter(None, texts))]
        tallies = {text: Tally() for text in texts}

        async def voted(group: Sequence[str]) -> None:
            for vote in await self._sound(problem.prompt, await self._votes(problem.prompt, group, run), run):
                for at, text in enumerate(vote.texts):
                    tallies[text].add(vote.game, at)

        if distinct:
            await run.gather(*map(voted, [distinct] if self.together else [[text] for text in distinct]))
        return scores([tallies[text] for text in texts], texts, self.name, self.kind, unit="vote")

    async def _votes(self, problem: str, group: Sequence[str], run: Run) -> list[Vote]:
        """All votes on a group: together each in an order of its own, which is a function of the texts."""
        if not self.together:
            return await self._asked(problem, group, self.k, run)
        orders = [Random(f"{vote}/{group}").sample(group, len(group)) for vote in range(self.k)]
        found = await run.gather(*(self._asked(problem, order, 1, run) for order in orders))
        return [vote for votes in found for vote in votes]

    async def _asked(self, problem: str, texts: Sequence[str], n: int, run: Run) -> list[Vote]:
        """`n` votes on texts in this order."""

        def prompt(parts: Sequence[str]) -> str:
            if self.together:
                return TOGETHER.format(problem=problem, solutions=numbered(parts))
            return by_principles(problem, parts[0])

        def read(reply: Completion) -> tuple[float, ...] | None:
            if self.together:
                return score_list(reply.text, len(texts))
            value = score(reply.text)
            return None if value is None else (float(value),)

        found = await fitted(run, prompt, texts, self.max_tokens)
        if found is None:
            return [Vote(texts, Game(None, asked=False), "")]
        came: list[Read[tuple[float, ...]]] = await replies(
            run,
            found.prompt,
            read,
            repair=REPAIR_TOGETHER if self.together else REPAIR,
            n=n,
            temperature=TEMPERATURE if self.k > 1 else 0.0,
            max_tokens=self.max_tokens,
        )
        return [
            Vote(texts, Game(one.value, unread=one.value is None, left_out=found.left_out), shown(one.completion.text))
            for one in came
        ]

    async def _sound(self, problem: str, votes: Sequence[Vote], run: Run) -> list[Vote]:
        """The votes, of which those that are not among the soundest have no value any more."""
        readable = [at for at, vote in enumerate(votes) if vote.game.values is not None]
        keep = self.k_meta or -(-self.k // 2)
        if not self.meta or len(readable) <= keep:
            return [*votes]

        async def soundness(at: int) -> tuple[int, int | None]:
            role = None if self.meta == ITSELF else self.meta
            of = numbered(votes[at].texts) if self.together else f"Solution:\n{votes[at].texts[0]}"
            prompt = SOUND.format(problem=problem, of=of, critique=votes[at].critique)
            ((value, _),) = await replies(
                run, prompt, lambda reply: score(reply.text), temperature=0.0, max_tokens=META_TOKENS, model=role
            )
            return at, value

        found = {at: value for at, value in await run.gather(*map(soundness, readable)) if value is not None}
        if not found:
            return [*votes]
        kept = sorted(readable, key=lambda at: -found.get(at, 0))[:keep]
        return [vote if at in kept else vote._replace(game=vote.game.without_value) for at, vote in enumerate(votes)]


def score_list(reply: str, count: int) -> tuple[float, ...] | None:
    """The scores in the brackets that end a reply; None unless they are `count` whole numbers from 1 to 10."""
    found = _SCORES.search(without_thinking(reply) or "")
    values = [part.strip() for part in found[1].split(",")] if found else []
    if len(values) != count or not all(value.isdecimal() and LOWEST <= int(value) <= HIGHEST for value in values):
        return None
    return tuple(map(float, values))
