"""A gate before a verifier: it scores only where the judging model shows that it can answer the problem itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import msgspec

from tts.answers.rules import read_answer
from tts.checks import require
from tts.core.protocols import kind_of, logprobs_for
from tts.core.trials.context import Run
from tts.plugins.verifiers import verifier as made
from tts.types import Candidate, Problem, Score


class Competent:
    """Let the judging model answer the problem `k` times, and let it score only where `agree` of its answers agree.

    Krumdick et al. (2025), No Free Labels, arXiv:2503.05061: on problems that a judge answers wrongly its verdicts are
    worth little, without a verified reference. Where it may not score, all candidates are abstained from, and selectors
    fall back on the plain vote. It is never shown its own answers as a reference: these made it worse.
    Differences from the paper: nobody knows here whether an answer is right; agreement of the judge's own answers
    stands for it (Wang et al. 2022, arXiv:2203.11171), which a judge that is always wrong in one way passes.

    Args:
        verifier: what scores, with its parameters.
        k: number of the judge's own answers, sampled as the run's are, once for a problem; they never vote.
        agree: number of them that have to agree, at the least.
        reference: name of one of the problem's `facts`, with which the caller vouches that the problem's reference,
            which `verifier` is shown, is verified: a problem that has it is scored without answers of the judge's own.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "competent"

    def __init__(
        self,
        *,
        verifier: str = "judge",
        k: int = 4,
        agree: int = 3,
        reference: str = "",
        model: str | None = None,
    ) -> None:
        require(k >= 1, "k", "at least 1", k)
        require(1 <= agree <= k, "agree", f"from 1 to k, {k}", agree)
        inner = made(verifier, model)
        self.kind = kind_of(inner)
        self.candidate_logprobs = logprobs_for(inner)
        self.verifier = verifier
        self.k = k
        self.agree = agree
        self.reference = reference
        self.model = model

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of `verifier`, or abstentions of all candidates."""
        why = f"the problem's {self.reference} is verified"
        if not self.reference or self.reference not in problem.facts:
            own = await run.once((self.name, problem.prompt, self.k), partial(run.generate, n=self.k))
            # A text that only helps to decide has no answer until somebody reads it.
            answers = [read_answer(each.text, problem, complete=each.complete) for each in own]
            agreeing = max(Counter(answer for answer in answers if answer is not None).values(), default=0)
            why = f"{agreeing} of the judge's own {len(own)} answers agree"
            if agreeing < self.agree:
                text = f"not competent: {why}, fewer than {self.agree}"
                return [Score(None, self.name, self.kind, text=text) for _ in candidates]
        found = await run.verify(candidates, self.verifier)
        return [msgspec.structs.replace(score, text=f"{why}. {score.text}") for score in found]
