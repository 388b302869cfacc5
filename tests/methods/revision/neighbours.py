"""Revision of the attempts that are nearest to the latest one."""

from difflib import SequenceMatcher

from tts import Candidate, Problem, Run
from tts.selectors import majority
from tts.toolkit.revisions import revised


async def neighbours(problem: Problem, run: Run, *, n: int = 8, start: int = 3, k: int = 3) -> Candidate:
    """Revise, of all earlier attempts, the k that are most like the latest, and vote among all.

    Snell et al. (2024), arXiv:2408.03314, section 6. Differences from the paper: the attempts shown are the nearest by
    their characters, which the paper names for its training data only.
    """
    run.fallback = majority
    found = await run.generate(n=min(n, start))
    while len(found) < n:
        near = sorted(found, key=lambda c: SequenceMatcher(None, c.text, found[-1].text).ratio())
        found += await revised(problem, run, near[-k:])
    return run.pick(found)
