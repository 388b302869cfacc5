"""Chains of revisions, in which a model sees its own latest attempts: for strategies, as `toolkit/votes.py` is.

Snell et al. (2024), arXiv:2408.03314, section 6. Differences from the paper: the model is prompted to revise, not
fine-tuned for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted
from tts.types import Candidate, Problem

MEMORY = 4  # attempts shown to the model, as in the paper

REVISE = """{problem}

Here are earlier attempts at this problem, oldest first. They may be wrong.

{attempts}

Look for mistakes in them, then solve the problem again from the start. End in the form the problem asks for."""


async def revise(problem: Problem, run: Run, rounds: int, begun: Sequence[Candidate] = ()) -> list[Candidate]:
    """Sample a chain of `rounds` versions; fewer, if the budget or a failure ended it early.

    Args:
        rounds: versions in all, the first attempt and those in `begun` included.
        begun: attempts that were made before, oldest first; the chain goes on from them.

    Raises: BudgetExhausted or AllFailed if there is not a single version.
    """
    run = run.on(problem)
    versions = list(begun) or await run.generate()
    try:
        while len(versions) < rounds:
            versions += await revised(problem, run, versions[-MEMORY:])
    except (BudgetExhausted, AllFailed):
        pass  # the versions that there are can take part in a selection
    return versions


async def revised(
    problem: Problem, run: Run, attempts: Sequence[Candidate], *, model: str | None = None
) -> list[Candidate]:
    """One version of a model that is shown these attempts, a child of the last; a first attempt where there is none.

    Raises: as `Run.generate`.
    """
    if not attempts:
        return await run.generate(model=model)
    shown = "\n\n".join(f"Attempt {i}:\n{attempt.text.strip()}" for i, attempt in enumerate(attempts, 1))
    prompt = REVISE.format(problem=problem.prompt, attempts=shown)
    return await run.generate(prompt, system=problem.system, parent=attempts[-1], model=model)
