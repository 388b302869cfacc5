"""Generative verification: S solutions, V verifications of each, then a weighted vote or the best."""

from collections.abc import Sequence

from tts.core.trials.context import Run
from tts.selectors import named
from tts.toolkit.rankings.trust import Guard, Trust
from tts.toolkit.sampling import sample_until
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem


async def genrm(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 4,
    verifications: int = 2,
    verifier: str = "genrm",
    selector: str = "weighted_majority",
    trust: Trust = "blind",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Sample `n` solutions, let `verifier` judge each `verifications` times, and select by the mean of P(Yes).

    Zhang et al. (2024), arXiv:2408.15240; the S x V split of Singhi et al. (2025), arXiv:2504.01005: cost grows as
    `S (1 + lambda V)`, and below about 8 times the cost of a plain vote, V = 0 (`majority_vote`) is better.
    Differences from the papers: a verification that does not parse is left out of the mean, never counted as 0; each
    verification is charged like a sample.
    Blind trust by default: the verdicts decide, or weigh the votes, however wrong they are.

    Args:
        n: solutions, S; None spends the budget on solutions and their verifications.
        verifications: V, per solution.
        verifier: the name of one of the run's verifiers.
        selector: weighted_majority or best_score.
        trust: `blind` lets the verifier decide from the beginning; `earned` lets it break ties of the vote until, over
            the problems of the run, it has agreed with clear votes (`tts/toolkit/rankings/trust.py`).
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, UnknownName.
    """
    run = run.on(problem)
    guard = Guard(run, verifier, trust)
    run.fallback = select = guard.over(named(selector))

    async def verified(_: Sequence[Candidate], latest: Sequence[Candidate]) -> bool:
        await run.verify(latest, verifier, repeats=verifications)
        return False

    if n is not None:
        candidates = await run.generate(n=n)
        await verified(candidates, candidates)
    else:  # one solution and its verifications at a time, so that no solution is left without
        candidates = await sample_until(run, verified, n=None)
    await guard.learn_from(candidates, equivalence)
    return await choose(run, select, candidates, equivalence)
