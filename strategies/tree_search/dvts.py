"""Diverse verifier tree search: greedy searches side by side, a vote among their solutions."""

from tts.checks import require
from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted
from tts.selectors import weighted_majority
from tts.toolkit.sampling import sample_by_turns
from tts.toolkit.steps import STEP, grow, ranked
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem


async def dvts(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 16,
    m: int = 4,
    depth: int = 40,
    stop: str = STEP,
    verifier: str = "prm",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Grow n/m trees apart from one another, the best of `m` next steps at a time; all solutions vote by their scores.

    Beeching, Tunstall, Rush (2024), "Scaling test-time compute with open models", after the beams of Snell et al.
    (2024), arXiv:2408.03314. Differences from the paper: every solution that a tree meets votes, not those beside its
    last step alone; a step without a score ranks last, and of equals the first sampled is the better one; a tree of
    which no next step comes has ended; with an open count trees grow one after the other.
    Blind trust: the verifier decides what is gone on with, whatever a vote would say.

    Args:
        n: steps side by side, those of all trees; None grows trees until the budget ends.
        m: next steps of which a tree keeps the best; what is left of n / m is dropped.
        depth: steps of a solution at most; what is longer does not vote.
        stop: the end of a step.
        verifier: of prefixes and solutions.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed if no tree came to the end of a step, InvalidParameter, UnknownName.
    """
    require(m >= 1, "m", "at least 1", m)
    require(n is None or n >= m, "n", f"at least m = {m}, or none", n)
    require(depth >= 1, "depth", "at least 1", depth)
    run = run.on(problem)
    run.fallback = weighted_majority
    found: list[Candidate] = []

    async def tree() -> bool:
        best = None
        for _ in range(depth):
            try:
                steps = await grow(run, [(best, m)], stop=stop)
            except (AllFailed, BudgetExhausted):
                if best is None:
                    raise
                break
            found.extend(steps)
            scores = await run.verify(steps, verifier)
            best = ranked(steps, dict(zip(steps, scores, strict=True)))[0]
            if not best.partial:
                break
        return False

    trees = None if n is None else n // m
    await sample_by_turns(run, tree, n=trees, workers=trees or 1)
    return await choose(run, weighted_majority, found, equivalence)
