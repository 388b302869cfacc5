"""A limit on how often a judge may change its mind about the leading answer in one trial."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tts.core.trials.context import Run
from tts.types import Candidate


async def leader_kept(
    run: Run,
    judge: str,
    candidates: Sequence[Candidate],
    scores: npt.NDArray[np.float64],
    known: npt.NDArray[np.bool_],
    most: int,
) -> npt.NDArray[np.float64]:
    """The scores; after `most` changes of the leading answer, those of the last leader's candidates are above all
    others.

    The leaders of a trial are values of `run.once`, one for each time that the judge was asked, so that a resumed trial
    has the same. An answer of None leads nothing.

    Args:
        judge: its name, for the trial's memory; known: which scores count.
    """
    ranked = [i for i in np.argsort(-scores, kind="stable") if known[i] and candidates[i].answer is not None]
    if not ranked:
        return scores
    leader, past = candidates[ranked[0]].answer, list[str | None]()
    while True:
        kept, made = _kept(past, leader, most), list[bool]()

        async def remember(value: str | None = kept, made: list[bool] = made) -> str | None:
            made.append(True)
            return value

        past.append(await run.once(("leader", judge, len(past)), remember))
        if made:
            break
    if past[-1] == leader:
        return scores
    raised = scores.copy()
    for i in ranked:
        if candidates[i].answer == past[-1]:
            raised[i] = scores[ranked[0]] + 1
    return raised


def _kept(past: Sequence[str | None], leader: str | None, most: int) -> str | None:
    """The answer that leads after those of the past: the new one, unless there were so many changes already."""
    changes = sum(a != b for a, b in pairwise(past))
    return past[-1] if past and past[-1] != leader and changes >= most else leader
