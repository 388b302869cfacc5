"""Best-first search over steps: of all prefixes, the one with the best value is gone on with next."""

from heapq import heappop, heappush

from tts.checks import require
from tts.core.trials.context import Run
from tts.errors import AllFailed
from tts.selectors import best_score
from tts.toolkit.steps import STEP, grow
from tts.types import Candidate, Problem


async def best_first(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 32,
    m: int = 3,
    depth: int = 20,
    enough: float | None = None,
    stop: str = STEP,
    verifier: str = "prm",
) -> Candidate:
    """Sample `m` next steps of the best prefix of all so far, again and again, and take the best solution.

    The tree of thoughts of Yao et al. (2023), arXiv:2305.10601, with a value for each step, searched best first as by
    Koh et al. (2024), arXiv:2407.01476. Differences from the papers: the value is a verifier's score, not a prompt's of
    the task; steps are sampled, never listed by one prompt, and of equal ones the first alone is gone on with; a prefix
    of which no next step comes is given up. Of prefixes of equal value the deepest, and of these the first sampled, is
    gone on with, so that a verifier which says the same of all leads to a solution; those without a value come last.
    Blind trust: the verifier decides what is gone on with, whatever a vote would say.

    Args:
        n: steps that are sampled in all, at most; a solution of k steps takes m * k. None goes on until the budget
            ends.
        m: next steps of a prefix.
        depth: steps of a solution at most.
        enough: the score of a solution that ends the search, 1 in the second paper; None never ends it early.
        stop: the end of a step.
        verifier: of prefixes and solutions.
    Raises: AllFailed if every step failed, InvalidParameter, UnknownName.
    """
    require(n is None or n >= 1, "n", "at least 1, or none", n)
    require(m >= 1, "m", "at least 1", m)
    require(depth >= 1, "depth", "at least 1", depth)
    if n is None:
        run.check_open()
    run = run.on(problem)
    run.fallback = best_score
    found: list[Candidate] = []
    asked, prefix = 0, None
    waiting: list[tuple[bool, float, int, tuple[int, ...], Candidate]] = []
    while n is None or asked < n:
        size = m if n is None else min(m, n - asked)
        asked += size
        try:
            steps = await grow(run, [(prefix, size)], stop=stop)
        except AllFailed:
            if not waiting:
                raise
            prefix = heappop(waiting)[-1]
            continue
        found += steps
        values = [score.value for score in await run.verify(steps, verifier)]
        alike: set[tuple[str, bool]] = set()
        for step, value in zip(steps, values, strict=True):
            if (step.text, step.partial) in alike:
                continue
            alike.add((step.text, step.partial))
            if step.partial and step.depth + 1 < depth:
                heappush(waiting, (value is None, -(value or 0.0), -step.depth, step.order, step))
            elif enough is not None and value is not None and step.complete and value >= enough:
                return step
        if not waiting:
            break
        prefix = heappop(waiting)[-1]
    return best_score(found, run.scores) or found[0]
