"""Texts that grow step by step, each step up to a stop string: for tree searches.

A prefix is a `Candidate`: `partial` until the text comes to its end, with `depth` steps before its last one, and with
the prefixes before it in `Run.ancestry`. A partial candidate has no answer: no selector, pool or allocator counts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from tts.core.trials.context import Run
from tts.types import Candidate, Score

STEP = "\n"  # ends a step


async def grow(
    run: Run, children: Iterable[tuple[Candidate | None, int]], *, stop: str | None = STEP, **sampling: Any
) -> list[Candidate]:
    """The next steps of several prefixes, sampled side by side; in order, those that failed left out.

    A text ends where the model ends it, or at a stop string of the run's own sampling.

    Args:
        children: each prefix, and the number of its next steps; None begins a text.
        stop: the end of a step, which is not in its text; `\\n` is a new line, as on the command line. None: without.
        sampling: as `Run.generate`.

    Raises: BudgetExhausted or AllFailed if not a single step came.
    """
    own = run.sampling.stop
    stops = own if stop is None else tuple(dict.fromkeys((stop.replace("\\n", "\n"), *own)))
    chains = [run.generate(n=k, continue_from=prefix, stop=stops, **sampling) for prefix, k in children if k > 0]
    return [step for steps in await run.gather(*chains) for step in steps]


def step_scores(run: Run, candidate: Candidate, verifier: str) -> tuple[float | None, ...]:
    """The scores that `verifier` has given the prefixes of a candidate, the first step's first; None where it gave
    none. Raises: UnknownName for a verifier that the run does not have."""
    path = run.ancestry(candidate)[-1 - candidate.depth :]
    return tuple(run.mean_score(prefix, verifier).value for prefix in path)


def ranked(steps: Sequence[Candidate], scores: Mapping[Candidate, Score]) -> list[Candidate]:
    """The steps, the best score first; of equals the first one given first, and those without a score last."""

    def place(step: Candidate) -> float:
        value = scores[step].value if step in scores else None
        return inf if value is None else -value

    return sorted(steps, key=place)
