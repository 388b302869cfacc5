"""A score from 1 to 10 by a rubric, reasons first, agreed on by several samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median

from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.judging.fitting import fitted
from tts.toolkit.judging.notes import TOO_LONG, note
from tts.toolkit.judging.pointwise import each
from tts.toolkit.judging.replies import replies, temperature_of
from tts.toolkit.prompts.scores import REPAIR, RIGHT_STEPS, by_rubric, expectation, score
from tts.types import Candidate, Completion, Problem, Score, ScoreKind

CENTRES: Mapping[str, Callable[[Sequence[float]], float]] = {"mean": fmean, "median": median}


class Rubric:
    """Score a solution from 1 to 10 by a rubric, with reasons before the score, `k` times, and take the centre.

    Trivedi et al. (2024), Self-rationalization, arXiv:2410.05495: rationale first, self-consistent scores. `expected`
    is Liu et al. (2023), G-Eval, arXiv:2303.16634. A solution without a readable score is an abstention. The text of
    the score is the rationale, where there is one alone.
    Differences from the papers: nothing is trained, but `tts judge export-pairs` writes the pairs of
    rationales that training takes; label mass is checked and recorded.

    Args:
        rubric: the meaning of the scores; empty: by the number of right steps before the first mistake.
        k: number of scores.
        temperature: of the scores; none: 0 of one, 0.7 of several.
        centre: `mean` or `median`.
        expected: whether a score is its expectation from log-probabilities, where the labels hold half of the
            probability; else it is that of the text.
        max_tokens: of a score and its reasons.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "rubric"
    kind: ScoreKind = "scale"

    def __init__(
        self,
        *,
        rubric: str = "",
        k: int = 1,
        temperature: float | None = None,
        centre: str = "mean",
        expected: bool = False,
        max_tokens: int = 512,
        model: str | None = None,
    ) -> None:
        require(k >= 1, "k", "at least 1", k)
        require(temperature is None or temperature >= 0, "temperature", "at least 0", temperature)
        require(centre in CENTRES, "centre", f"one of {', '.join(CENTRES)}", centre)
        require(max_tokens >= 1, "max_tokens", "at least 1", max_tokens)
        self.rubric = rubric
        self.k = k
        self.temperature = temperature
        self.centre = centre
        self.expected = expected
        self.max_tokens = max_tokens
        self.model = model

    def prompt(self, problem: str, solution: str) -> str:
        """What is asked about a solution."""
        return by_rubric(problem, solution, self.rubric or RIGHT_STEPS)

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of candidates, one by one."""

        async def judged(text: str) -> Score:
            return await self._score(problem.prompt, text, run)

        return await each(run, candidates, judged, self.name, self.kind)

    async def _score(self, problem: str, text: str, run: Run) -> Score:
        found = await fitted(run, lambda parts: self.prompt(problem, parts[0]), [text], self.max_tokens)
        if found is None:
            return Score(None, self.name, self.kind, text=TOO_LONG)
        came = await replies(
            run,
            found.prompt,
            self._read,
            repair=REPAIR,
            n=self.k,
            temperature=temperature_of(self.k) if self.temperature is None else self.temperature,
            max_tokens=self.max_tokens,
            top_logprobs=20 if self.expected else 0,
        )
        read = [one.value for one in came if one.value is not None]
        unread = len(came) - len(read)
        said = f"{self.centre} of {', '.join(f'{value:.4g}' for value, _ in read) or 'no score'}"
        alone = len(came) == len(read) == 1 and not found.left_out
        return Score(
            CENTRES[self.centre]([value for value, _ in read]) if read else None,
            self.name,
            self.kind,
            min((mass for _, mass in read if mass is not None), default=None),
            came[0].completion.text if alone else note(said, unread, len(came), found.left_out),
            verdicts=len(came),
            unread=unread,
        )

    def _read(self, reply: Completion) -> tuple[float, float | None] | None:
        if self.expected:
            return expectation(reply)
        value = score(reply.text)
        return None if value is None else (float(value), None)
