"""Hearings: a judge decides between two answers after what is said for them, perhaps without the problem's numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from tts.checks import require
from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted
from tts.toolkit.judging.fitting import fitted
from tts.toolkit.judging.games import Game, played, scores
from tts.toolkit.judging.replies import Read, replies, temperature_of
from tts.toolkit.prompts.debate import ARGUE, DECIDE, belief, hidden, transcript
from tts.types import Candidate, Problem, Score, ScoreKind

KIND: ScoreKind = "probability"


class Speech(NamedTuple):
    """What was said for an answer, and by whom."""

    name: str
    answer: str
    text: str


Spoken = Callable[[str, str], Awaitable[Sequence[Speech]]]  # of two answers, A and B


class Hearing(NamedTuple):
    """The judge's side of a protocol.

    Args:
        verifier: its name. blind: whether the numbers of the problem are hidden from the judge.
        games: verdicts on each pair in each order. most: answers that are compared, those with the most candidates.
        max_tokens: of a verdict, and of a speech. model, debater: names of the models that judge and that argue; None
            is the generating one.
    """

    verifier: str
    blind: bool
    games: int
    most: int
    max_tokens: int
    model: str | None
    debater: str | None

    def check(self) -> None:
        """Raises: InvalidParameter."""
        require(self.games >= 1, "games", "at least 1", self.games)
        require(self.most >= 2, "most", "at least 2", self.most)
        require(self.max_tokens >= 1, "max_tokens", "at least 1", self.max_tokens)

    async def scores(self, problem: Problem, candidates: Sequence[Candidate], run: Run, spoken: Spoken) -> list[Score]:
        """P(right) of each candidate's answer, the mean over the other answers and both orders; an abstention of
        candidates without an answer, and of answers with fewer candidates than the `most` leading ones."""
        votes = Counter(candidate.answer for candidate in candidates if candidate.answer)
        leading = [answer for answer, _ in votes.most_common(self.most)]

        async def play(a: str, b: str) -> Sequence[Game]:
            return await self.verdicts(problem, run, (a, b), await spoken(a, b), self.blind, self.model)

        tallies = await played(run, leading, play)
        by_answer = dict(zip(leading, scores(tallies, leading, self.verifier, KIND), strict=True))
        unheard = Score(None, self.verifier, KIND, text="none of the answers that are compared")
        return [by_answer.get(candidate.answer or "", unheard) for candidate in candidates]

    async def verdicts(
        self,
        problem: Problem,
        run: Run,
        answers: tuple[str, str],
        speeches: Sequence[Speech],
        blind: bool,
        model: str | None,
    ) -> list[Game]:
        """The verdicts of a model on the answers A and B, after the speeches."""
        seen = hidden(problem.prompt) if blind else problem.prompt

        def prompt(texts: Sequence[str]) -> str:
            said = [speech._replace(text=text) for speech, text in zip(speeches, texts, strict=True)]
            return DECIDE.format(problem=seen, a=answers[0], b=answers[1], transcript=transcript(said))

        fits = await fitted(run, prompt, [speech.text for speech in speeches], self.max_tokens)
        if fits is None:
            return [Game(None, asked=False)] * self.games
        came: list[Read[float]] = await replies(
            run,
            fits.prompt,
            belief,
            n=self.games,
            temperature=temperature_of(self.games),
            max_tokens=self.max_tokens,
            top_logprobs=10,
            model=model,
        )
        return [_game(one.value, fits.left_out) for one in came]

    async def speech(self, problem: Problem, run: Run, name: str, answer: str, heard: Sequence[Speech]) -> Speech:
        """An argument of the debater for an answer, after what it has heard; empty if none came."""
        prompt = ARGUE.format(problem=problem.prompt, name=name, answer=answer, transcript=transcript(heard))
        try:
            (said,) = await run.ask(prompt, max_tokens=self.max_tokens, model=self.debater)
        except (BudgetExhausted, AllFailed):
            return Speech(name, answer, "")
        return Speech(name, answer, said.text)

    async def chosen(self, problem: Problem, run: Run, a: str, b: str) -> str:
        """The answer that the debater itself takes for the right one of two; A where it does not say."""
        (said, *_) = await self.verdicts(problem, run, (a, b), (), blind=False, model=self.debater)
        return b if said.values is not None and said.values[1] > said.values[0] else a


def _game(p: float | None, left_out: int) -> Game:
    if p is None:
        return Game(None, unread=True, left_out=left_out)
    return Game((p, 1 - p), left_out=left_out)
