"""REBASE: each prefix gets as many next steps as its reward deserves."""

from collections.abc import Sequence
from math import ceil, exp

from tts.checks import require
from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted
from tts.selectors import weighted_majority
from tts.toolkit.steps import STEP, grow, ranked
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem

SLACK = 1e-9  # of a share: a whole number of next steps is not rounded up for the last bit of a float


async def rebase(
    problem: Problem,
    run: Run,
    *,
    n: int = 16,
    balance: float = 0.2,
    depth: int = 25,
    stop: str = STEP,
    verifier: str = "prm",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Share `n` next steps out among the prefixes of a level by the softmax of their rewards; all solutions vote.

    Wu et al. (2024), arXiv:2408.00724, section 3: a solution takes its place of the n for good.
    Differences from the paper: numbers of next steps are rounded as in the authors' code, so that they add up (see
    `shares`); a prefix without a reward gets none, unless no prefix of its level has one; where no next step comes, the
    solutions so far vote.
    Blind trust: the verifier decides what is gone on with, whatever a vote would say.

    Args:
        n: next steps of the first level, and solutions at most.
        balance: temperature of the softmax, 0.2 in the paper: the lower, the more the best prefix gets.
        depth: steps of a solution at most; what is longer does not vote.
        stop: the end of a step.
        verifier: of prefixes and solutions, whose score is the reward.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed if no first step came, InvalidParameter, UnknownName.
    """
    require(n >= 1, "n", "at least 1", n)
    require(balance > 0, "balance", "above 0", balance)
    require(depth >= 1, "depth", "at least 1", depth)
    run = run.on(problem)
    run.fallback = weighted_majority
    found: list[Candidate] = []
    children: list[tuple[Candidate | None, int]] = [(None, n)]
    for _ in range(depth):
        try:
            steps = await grow(run, children, stop=stop)
        except (AllFailed, BudgetExhausted):
            if not found:
                raise
            break
        found += steps
        scores = dict(zip(steps, await run.verify(steps, verifier), strict=True))
        room = n - sum(step.complete for step in found)
        live = [step for step in ranked(steps, scores) if step.partial]
        children = [*zip(live, shares([scores[step].value for step in live], room, balance), strict=True)]
        if not children or room < 1:
            break
    return await choose(run, weighted_majority, found, equivalence)


def shares(rewards: Sequence[float | None], room: int, balance: float) -> list[int]:
    """The number of next steps of each prefix, best reward first, `room` in all: of what is left of the room, the
    prefix's part of what is left of the softmax weights, rounded up."""
    best = rewards[0] if rewards else None
    weights = [1.0 if best is None else 0.0 if r is None else exp((r - best) / balance) for r in rewards]
    found: list[int] = []
    for i, weight in enumerate(weights):
        left = room - sum(found)
        found.append(ceil(left * weight / sum(weights[i:]) - SLACK) if weight else 0)
    return found
