"""Texts that grow step by step, each step up to a stop string: for tree searches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tts.core.trials.context import Run
from tts.selectors import Scores, weighted_majority
from tts.types import Candidate

STEP = "\n"  # ends a step


def vote_of_leaves(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
    """`weighted_majority` among the complete texts alone; among all candidates where none is complete."""
    return weighted_majority([c for c in candidates if c.complete] or candidates, scores)


async def grow(
    run: Run, children: Iterable[tuple[Candidate | None, int]], *, stop: str = STEP, **sampling: Any
) -> list[Candidate]:
    """The next steps of several prefixes, sampled side by side; in order, those that failed left out.

    Args:
        children: each prefix, and the number of its next steps; None begins a text.
        stop: the end of a step, which is not in its text.
        sampling: as `Run.generate`.

    Raises: BudgetExhausted or AllFailed if not a single step came.
    """
    chains = [run.generate(n=k, continue_from=prefix, stop=stop, **sampling) for prefix, k in children if k > 0]
    return [step for steps in await run.gather(*chains) for step in steps]
