"""A process reward of a chat model: whether the steps of a solution are right, each read from one token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

from tts.core.trials.context import Run
from tts.errors import CapabilityMissing
from tts.toolkit.labels import ENOUGH_MASS, masses
from tts.toolkit.prompts.steps import RIGHT, SAMPLING, WRONG, last_step
from tts.toolkit.step_scores import aggregated, check_aggregate, steps_of
from tts.types import Candidate, Completion, Problem, Score, ScoreKind


class PRM:
    """Ask a chat model whether a step is right, given those before it, and read P(+) = + / (+ and -) from its reply.

    Wang et al. (2024), Math-Shepherd, arXiv:2312.08935, whose labels are + and -; the product and the minimum over
    steps of Lightman et al. (2023), arXiv:2305.20050; the last step of Snell et al. (2024), arXiv:2408.03314.
    A step is a line of the solution: of a model that thinks first, the lines after its `<think>` block. Thoughts are
    neither judged nor shown, and a text that is still in its thoughts has no steps, costs nothing and abstains: a
    search has nothing to go by there. One prefix is judged once in a run, however many candidates and cells begin with
    it. A step whose labels hold less than half of the probability has no judgement, and a candidate abstains without
    one that it needs.
    Differences from the papers: a chat model is asked, of which nothing is trained; label mass is checked and recorded.

    Args:
        aggregate: of the steps' scores, `last`, `min`, `prod` or `mean`. For `last`, the last step alone is judged: it
            is right only if those before it are.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "prm"
    kind: ScoreKind = "probability"
    reply_logprobs = True

    def __init__(self, *, aggregate: str = "last", model: str | None = None) -> None:
        check_aggregate(aggregate)
        self.aggregate = aggregate
        self.model = model

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of candidates, partial ones and whole ones. Raises: CapabilityMissing for replies without
        log-probabilities."""
        prefixes = [[*accumulate(steps_of(candidate.text), "{}\n{}".format)] for candidate in candidates]
        needed = [prefix for all in prefixes for prefix in (all[-1:] if self.aggregate == "last" else all)]

        async def replied(prefix: str) -> tuple[str, Completion]:
            prompt = last_step(problem.prompt, prefix)
            (reply,) = await run.once((self.name, prompt), partial(run.ask, prompt, logprobs=True, **SAMPLING))
            return prefix, reply

        chains = [replied(prefix) for prefix in dict.fromkeys(needed)]
        replies = dict(await run.gather(*chains)) if chains else {}  # without those that the budget holds no more
        found = {prefix: self._read(reply) for prefix, reply in replies.items()}
        return [self._score([found.get(prefix, (None, None)) for prefix in all]) for all in prefixes]

    def _read(self, reply: Completion) -> tuple[float | None, float]:
        """P(+), None without enough label mass, and that mass. Log-probabilities that were no numbers have been noted
        as left out."""
        if reply.text and reply.logprobs is None and "logprobs" not in reply.downgrades:
            raise CapabilityMissing(
                f"the verifier {self.name} reads probabilities, but {reply.model or 'the model'} replied without "
                f"log-probabilities: `tts doctor` shows whether a server gives them; genrm does without",
                model=reply.model,
            )
        labels = masses(reply, RIGHT, WRONG) or {RIGHT: 0.0, WRONG: 0.0}
        mass = sum(labels.values())
        return labels[RIGHT] / mass if mass >= ENOUGH_MASS else None, min(1.0, mass)

    def _score(self, judged: Sequence[tuple[float | None, float | None]]) -> Score:
        masses = [mass for _, mass in judged if mass is not None]
        return aggregated([value for value, _ in judged], self.aggregate, self.name, min(masses, default=None))
