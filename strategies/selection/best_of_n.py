"""Best-of-N: sample N, score each, keep the best."""

from tts.core.trials.context import Run
from tts.selectors import named
from tts.toolkit.rankings.trust import Guard, Trust
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
    trust: Trust = "blind",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Sample `n` candidates, score each once with `verifier`, and let `selector` pick.

    Stiennon et al. (2020), arXiv:2009.01325; Cobbe et al. (2021), arXiv:2110.14168. With `selector="borda"` and
    self-certainty it is Kang et al. (2025), arXiv:2502.18581.
    Differences from the papers: a candidate whose verification abstained is passed over rather than ranked last.
    Blind trust by default: the scores decide, whatever the vote says.

    Args:
        n: number of samples; None spends the rest of the budget, on each as it comes and then on its verification.
        verifier: the name of one of the run's verifiers.
        selector: best_score, weighted_majority, borda or majority.
        trust: `blind` lets the verifier decide from the beginning; `earned` lets it break ties of the vote until, over
            the problems of the run, it has agreed with clear votes (`tts/toolkit/rankings/trust.py`).
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, UnknownName.
    """
    run = run.on(problem)
    guard = Guard(run, verifier, trust)
    run.fallback = select = guard.over(named(selector))
    candidates = await sample_and_verify(run, verifier, n=n)
    await guard.learn_from(candidates, equivalence)
    return await choose(run, select, candidates, equivalence)
