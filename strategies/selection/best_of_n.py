"""Best-of-N: sample N, score each, keep the best."""

from tts.core.trials.context import Run
from tts.selectors import named
from tts.toolkit.sampling import sample_and_verify
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
    candidates = await sample_and_verify(run, verifier, n=n)
    return await choose(run, select, candidates, equivalence)
