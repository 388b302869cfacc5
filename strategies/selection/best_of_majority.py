"""Best-of-majority: the answer that most often wins a best-of-m."""

from collections.abc import Sequence
from math import comb, sqrt

from tts.checks import require
from tts.core.trials.context import Run
from tts.selectors import Scores, heaviest, majority, value_of, whole
from tts.toolkit.rankings.trust import Guard, Trust
from tts.toolkit.sampling import sample_and_verify
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem


async def best_of_majority(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    m: int | None = None,
    verifier: str = "genrm",
    trust: Trust = "earned",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Sample `n` candidates, score each, and choose the answer that wins best-of-m in most subsets of m of them.

    Rakhsha et al. (2025), arXiv:2511.18630. Differences from the paper: all subsets count, by a closed form of the
    ranks, where the paper draws some; candidates of equal scores share their wins. m = 1 is the plain vote, m = n
    best-of-n. Trust in the verifier is earned.

    Args:
        n: number of samples; None spends the budget on samples and their verifications.
        m: samples of a subset; None is the square root of n, rounded.
        verifier: scores each candidate.
        trust: `earned` lets the verifier break ties of the vote, and choose among all answers once it has agreed with
            clear votes more often than by chance, over the problems of the run (`tts/toolkit/rankings/trust.py`);
            `blind` lets it choose among all at once, as in the paper.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter, UnknownName.
    """
    require(m is None or m >= 1, "m", "at least 1, or none", m)
    run = run.on(problem)

    def select(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
        found = whole(candidates)
        return heaviest(found, _wins(found, scores, m)) or majority(candidates, scores)

    guard = Guard(run, verifier, trust)
    run.fallback = guard.over(select)
    candidates = await sample_and_verify(run, verifier, n=n)
    await guard.learn_from(candidates, equivalence)
    return await choose(run, guard.over(select), candidates, equivalence)


def _wins(candidates: Sequence[Candidate], scores: Scores, m: int | None) -> dict[str, float]:
    """The number of subsets of m that each candidate wins. One without an answer or a score loses to all others."""
    values = {c.id: value_of(scores.get(c.id, ())) for c in candidates if c.answer is not None}
    known = {id: value for id, value in values.items() if value is not None}
    size = min(len(candidates), m or max(1, round(sqrt(len(candidates)))))

    def share(value: float) -> float:
        at_most = len(candidates) - sum(other > value for other in known.values())
        tied = sum(other == value for other in known.values())
        return (comb(at_most, size) - comb(at_most - tied, size)) / tied

    return {id: share(value) for id, value in known.items()}
