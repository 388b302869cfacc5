"""Pessimistic best-of-N: the answer with the best score after a penalty for how little is known of it."""

from collections.abc import Mapping, Sequence
from math import log

from tts.checks import require
from tts.core.trials.context import Run
from tts.selectors import Scores, in_order, majority, whole
from tts.toolkit.rankings.trust import Guard, Trust
from tts.toolkit.sampling import sample_until
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem


async def pessimistic(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    verifications: int = 1,
    alpha: float = 0.5,
    verifier: str = "genrm",
    trust: Trust = "earned",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Choose the answer a with the greatest `mean score(a) - alpha ln(all scores) / (scores of a + 1)`.

    Shi & Jin (2025), Heimdall, arXiv:2504.10337, section 3.3, pessimistic verification: the mean over an answer's
    candidates and verifications, less its uncertainty. Differences from the paper: alpha is in units of the range of
    the problem's scores, so that a reward model of any scale may be asked; it is 0.5, where the paper has 0.1 for its
    own verifier; abstentions are left out; without any score it is the plain vote; trust in the verifier is earned.

    Args:
        n: number of samples, N; None spends the budget on samples and their verifications.
        verifications: of each candidate, M.
        alpha: weight of the uncertainty; 0 is the best mean score, a large one the plain vote.
        verifier: scores each candidate.
        trust: `earned` lets the verifier break ties of the vote, and choose among all answers once it has agreed with
            clear votes more often than by chance, over the problems of the run (`tts/toolkit/rankings/trust.py`);
            `blind` lets it choose among all at once, as in the paper.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter, UnknownName.
    """
    require(verifications >= 1, "verifications", "at least 1", verifications)
    require(alpha >= 0, "alpha", "at least 0", alpha)
    run = run.on(problem)

    def select(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
        found = whole(candidates)
        values = _pessimistic(_by_answer(found, scores), alpha)
        best = max(values, key=lambda answer: round(values[answer], 9), default=None)
        return next((c for c in found if best is not None and c.answer == best), None) or majority(candidates, scores)

    async def verified(_: Sequence[Candidate], latest: Sequence[Candidate]) -> bool:
        await run.verify(latest, verifier, repeats=verifications)
        return False

    guard = Guard(run, verifier, trust)
    run.fallback = guard.over(select)
    if n is None:
        candidates = await sample_until(run, verified, n=None)
    else:
        candidates = await run.generate(n=n)
        await verified(candidates, candidates)
    await guard.learn_from(candidates, equivalence)
    return await choose(run, guard.over(select), candidates, equivalence)


def _by_answer(candidates: Sequence[Candidate], scores: Scores) -> dict[str, list[float]]:
    """Answer -> its scores, in the order in which answers were seen."""
    found: dict[str, list[float]] = {}
    for candidate in in_order(candidates):
        values = [score.value for score in scores.get(candidate.id, ()) if score.value is not None]
        if candidate.answer is not None and values:
            found.setdefault(candidate.answer, []).extend(values)
    return found


def _pessimistic(scores: Mapping[str, Sequence[float]], alpha: float) -> dict[str, float]:
    every = [value for values in scores.values() for value in values]
    unit = (max(every) - min(every) if every else 0.0) or 1.0
    return {
        answer: sum(values) / len(values) - alpha * unit * log(len(every)) / (len(values) + 1)
        for answer, values in scores.items()
    }
