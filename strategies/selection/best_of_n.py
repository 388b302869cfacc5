"""Best-of-N: sample N, score each, keep the best."""

from collections.abc import Sequence

from tts.core.trials.context import Run
from tts.selectors import named
from tts.toolkit.sampling import sample_until
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem


async def best_of_n(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    verifier: str = "self_certainty",
    selector: str = "best_score",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Sample `n` candidates, score each once with `verifier`, and let `selector` pick.

    Stiennon et al. (2020), arXiv:2009.01325; Cobbe et al. (2021), arXiv:2110.14168. With `selector="borda"` and
    self-certainty it is Kang et al. (2025), arXiv:2502.18581.
    Differences from the papers: a candidate whose verification abstained is passed over rather than ranked last.

    Args:
        n: number of samples; None spends the rest of the budget, on each as it comes and then on its verification.
        verifier: the name of one of the run's verifiers.
        selector: best_score, weighted_majority, borda or majority.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, UnknownName.
    """
    run = run.on(problem)
    run.fallback = select = named(selector)
    if n is None:
        candidates = await _open_ended(run, verifier)
    else:
        candidates = await run.generate(n=n)
        await run.verify(candidates, verifier)
    return await choose(run, select, candidates, equivalence)


async def _open_ended(run: Run, verifier: str) -> list[Candidate]:
    """Sample as many as the budget holds with their verifications; an allocator sees the scores as they come."""

    async def verified(_: Sequence[Candidate], latest: Sequence[Candidate]) -> bool:
        await run.verify(latest, verifier)
        return False

    if run.asks_a_model(verifier):  # one candidate and its verification at a time, so that none is left without
        return await sample_until(run, verified, n=None)
    candidates: list[Candidate] = []
    async with run.finishing(n=None) as arriving:
        async for candidate in arriving:
            candidates.append(candidate)
            await run.verify([candidate], verifier)
    return candidates
