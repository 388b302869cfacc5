"""PaCoRe: parallel coordinated reasoning in rounds that shrink to one."""

from tts import Candidate, Problem, Run
from tts.selectors import majority
from tts.toolkit.prompts.aggregation import aggregation


async def pacore(problem: Problem, run: Run, *, first: int = 8, second: int = 4) -> Candidate:
    """Show each trace of a round the conclusions of all of the round before, in a random order; the last one answers.

    Hu et al. (2026), arXiv:2601.05593. Differences from the paper: the prompt is that of `rsa`; two rounds before the
    last, whatever the effort.
    """
    found = await run.generate(n=first)
    run.fallback = lambda _, scores: majority(found, scores)
    for width in (second, 1):
        texts = [c.text for c in found]
        prompts = [aggregation(problem.prompt, run.random.sample(texts, len(texts))) for _ in range(width)]
        found = [c for (c,) in await run.gather(*map(run.generate, prompts))]
    return found[0]
