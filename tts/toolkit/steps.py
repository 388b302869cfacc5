"""Texts that grow step by step, each step up to a stop string: for tree searches.

A prefix is a `Candidate`: `partial` until the text comes to its end, with `depth` steps before its last one, and with
the prefixes before it in `Run.ancestry`. A partial candidate has no answer: no selector, pool or allocator counts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from tts.core.trials.context import Run
from tts.errors import AllFailed, CapabilityMissing
from tts.types import Candidate, Score

STEP = "\n"  # ends a step
MOST_REPEATS = 8  # of one step in a row: a model that says it so often goes on so


async def grow(
    run: Run, children: Iterable[tuple[Candidate | None, int]], *, stop: str | None = STEP, **sampling: Any
) -> list[Candidate]:
    """The next steps of several prefixes, sampled side by side, in order.

    A text ends where the model ends it, or at a stop string of the run's own sampling, and then has no next step. A
    step that its `max_tokens` ends is partial, and goes on in the next. Left out are steps that failed, those that make
    a text say the same eight times in a row, and those whose end the server did not tell.

    Args:
        children: each prefix, and the number of its next steps (none without any); None begins a text.
        stop: the end of a step, which is not in its text; `\\n` is a new line, as on the command line. None: without.
        sampling: as `Run.generate`.

    Raises: BudgetExhausted or AllFailed if not a single step came; CapabilityMissing for a server that cannot continue
        a text, or does not tell the ends of steps: before anything is spent, where that is known.
    """
    stop, own = stop and stop.replace("\\n", "\n"), run.sampling.stop
    stops = own if stop is None else tuple(dict.fromkeys((stop, *own)))
    asked = [
        run.generate(n=k, continue_from=prefix, step=True, stop=stops, **sampling)
        for prefix, k in children
        if k > 0 and not (prefix and prefix.complete)
    ]
    steps = [step for found in await run.gather(*asked) for step in found]
    told = [step for step in steps if not (step.partial and step.completion.ending == "unknown")]
    going_on = [step for step in told if not (stop and repeats(step, stop))]
    if steps and not told:
        raise _untold(steps[0].completion.endpoint)
    if told and not going_on:
        raise AllFailed(f"all {len(told)} texts have said the same {MOST_REPEATS} times in a row", asked=len(told))
    return going_on


def repeats(candidate: Candidate, stop: str = STEP) -> bool:
    """Whether a partial text has ended `MOST_REPEATS` times in a row with the same step, an empty one for instance."""
    latest = candidate.text.rsplit(stop, MOST_REPEATS)[-MOST_REPEATS:]
    return candidate.partial and len(latest) == MOST_REPEATS and len({step.strip() for step in latest}) == 1


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


def _untold(endpoint: str) -> CapabilityMissing:
    return CapabilityMissing(
        f"this strategy grows texts step by step, and {endpoint or 'the server'} did not say of any step whether a "
        f"stop string or the model ended it. vLLM, SGLang and llama.cpp say it; `tts doctor` shows what an endpoint "
        f"can do.",
        capability="stop_reason",
    )
