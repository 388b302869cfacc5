"""Sequential revision: parallel chains, each revising its own latest attempts; selection over all versions."""

from tts.core.trials.context import Run
from tts.errors import InvalidParameter
from tts.selectors import named
from tts.toolkit.revisions import revise
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem


async def sequential_revision(
    problem: Problem,
    run: Run,
    *,
    chains: int = 2,
    rounds: int = 4,
    selector: str = "majority",
    verifier: str | None = None,
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Run `chains` chains of `rounds` versions each, and select over every version of every chain.

    Snell et al. (2024), arXiv:2408.03314, section 6: a version sees the last four attempts of its chain.
    Differences from the paper: the model is prompted to revise, not fine-tuned; selection is over all versions at once
    rather than first inside each chain; the last version has no privilege, because revisions break right answers, too.

    Args:
        chains: number of chains side by side.
        rounds: versions per chain, the first attempt included.
        selector: majority, or best_score, weighted_majority or borda together with a verifier.
        verifier: scores every version, if given.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed if every chain failed, UnknownName, InvalidParameter.
    """
    run = run.on(problem)
    run.fallback = select = named(selector)
    for name, value in (("chains", chains), ("rounds", rounds)):
        if value < 1:
            raise InvalidParameter(f"{name} must be at least 1, but got {value}", name=name, value=value)
    found = await run.gather(*(revise(problem, run, rounds) for _ in range(chains)))
    versions = [version for chain in found for version in chain]
    if verifier is not None:
        await run.verify(versions, verifier)
    return await choose(run, select, versions, equivalence)
