"""Beam search over steps, with a verifier of steps."""

from tts import Candidate, Problem, Run
from tts.selectors import weighted_majority
from tts.toolkit.steps import grow


async def beam(
    problem: Problem, run: Run, *, n: int = 8, m: int = 4, depth: int = 20, lookahead: int = 0, verifier: str = "judge"
) -> Candidate:
    """Keep the best n/m prefixes, grow m steps of each, and vote among the leaves by their scores.

    Snell et al. (2024), arXiv:2408.03314, section 5. Differences from the paper: a leaf keeps its place in the beam; a
    prefix whose lookahead failed is dropped; a step without a score counts as 0.
    """
    run.fallback = weighted_majority

    async def valued(prefix: Candidate) -> tuple[float, Candidate]:
        ahead = prefix
        for _ in range(lookahead):
            if not ahead.complete:
                (ahead,) = await grow(run, [(ahead, 1)], temperature=0.0)
        (score,) = await run.verify([ahead], verifier)
        return score.value or 0.0, prefix

    beams, leaves = await grow(run, [(None, n)]), []
    for _ in range(depth):
        leaves += [b for b in beams if b.complete]
        ranked = sorted(await run.gather(*(valued(b) for b in beams if not b.complete)), key=lambda pair: -pair[0])
        if not ranked or len(leaves) >= n:
            break
        beams = await grow(run, [(prefix, m) for _, prefix in ranked[: max(1, (n - len(leaves)) // m)]])
    await run.verify(leaves, verifier)
    return run.pick()
