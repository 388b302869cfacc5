"""Aspect verifiers: several questions about one solution, each answered by yes or no, of which the mean is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from tts.checks import require
from tts.core.actions import Request
from tts.core.trials.context import Run
from tts.toolkit.judging.fitting import fitted
from tts.toolkit.judging.notes import TOO_LONG, note
from tts.toolkit.judging.pointwise import each
from tts.types import Candidate, Completion, Problem, Score, ScoreKind
from tts.verifiers.generative.genrm import GenRM
from tts.verifiers.generative.judge import Judge

ASPECT = """You are a teacher grading a solution in one respect.

Problem:
{{problem}}

Solution:
{{solution}}

Check step by step whether {respect}. Let nothing else count. End with one line:
Verification: In this respect, is it correct (Yes/No)? Yes or No"""
RESPECTS: Mapping[str, str] = {
    "calculations": "each calculation is right",
    "logic": "each step follows from the problem and from the steps before it",
    "conditions": "all that the problem states is used as it is stated",
    "question": "the answer is of what was asked for, in the unit and form that was asked for",
}
WHOLE = ("direct", "steps")  # the answer as a whole: at once (verifier `judge`), and step by step (`genrm`)
ASPECTS = (*WHOLE, *RESPECTS)


class Aspect(GenRM):
    """A check of one aspect, step by step."""

    def __init__(self, aspect: str, *, max_tokens: int) -> None:
        super().__init__(max_tokens=max_tokens)
        if aspect in RESPECTS:
            self._template = ASPECT.format(respect=RESPECTS[aspect])


class MAV:
    """Ask about several aspects of a solution, and take the part of them that is approved.

    Lifshitz et al. (2025), Multi-Agent Verification, arXiv:2502.20379: binary verdicts of aspect verifiers, averaged;
    best-of-N by them is BoN-MAV. A solution of which no verdict can be read is an abstention.
    Differences from the paper: the aspects are these; one model asks all of them; a verdict of yes is P(Yes) of at
    least a half where log-probabilities are known; one that cannot be read is left out, and counted.

    Args:
        aspects: joined by +, of `direct` (the answer, at once), `steps` (the answer, step by step), `calculations`,
            `logic`, `conditions` and `question`.
        max_tokens: of a check; `direct` takes four.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "mav"
    kind: ScoreKind = "probability"

    def __init__(
        self,
        *,
        aspects: str = "direct+steps+calculations+logic+question",
        max_tokens: int = 512,
        model: str | None = None,
    ) -> None:
        require({*aspects.split("+")} <= {*ASPECTS}, "aspects", f"some of {', '.join(ASPECTS)}, joined by +", aspects)
        self.aspects = aspects
        self.max_tokens = max_tokens
        self.model = model

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of candidates, one by one."""
        return await each(run, candidates, partial(self._score, problem, run), self.name, self.kind)

    async def _score(self, problem: Problem, run: Run, text: str) -> Score:
        async def verdict(aspect: str) -> tuple[float | None, int] | None:
            check = Judge() if aspect == "direct" else Aspect(aspect, max_tokens=self.max_tokens)

            def asked(parts: Sequence[str]) -> Request:
                return check.request(problem, Candidate("", parts[0], None, Completion("")))

            found = await fitted(run, lambda parts: asked(parts).messages[-1].content, [text], check.max_tokens)
            if found is None:
                return None
            how = asked([text]).sampling
            (reply,) = await run.ask(
                found.prompt, temperature=how.temperature, max_tokens=how.max_tokens, top_logprobs=how.top_logprobs
            )
            return check.read(reply).value, found.left_out

        came = [
            one for one in await run.gather(*map(verdict, dict.fromkeys(self.aspects.split("+")))) if one is not None
        ]
        approved = [value >= 0.5 for value, _ in came if value is not None]
        unread = len(came) - len(approved)
        said = f"{sum(approved)} of {len(approved)} aspects approved" if came else TOO_LONG
        return Score(
            sum(approved) / len(approved) if approved else None,
            self.name,
            self.kind,
            text=note(said, unread, len(came), max((left_out for _, left_out in came), default=0)),
            verdicts=len(came),
            unread=unread,
        )
