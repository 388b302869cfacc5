"""Trust or escalate: a cheap judge first, and a stronger one where the cheap one is not sure."""

from collections.abc import Sequence

from tts.checks import require
from tts.core.trials.context import Run
from tts.selectors import Scores, named
from tts.toolkit.rankings.trust import Guard, Trust
from tts.toolkit.sampling import sample_until
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem, Score


async def trust_or_escalate(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    verdicts: int = 3,
    threshold: float = 0.8,
    strong_threshold: float = 0.5,
    verifier: str = "judge",
    strong_verifier: str = "genrm",
    trust: Trust = "earned",
    selector: str = "weighted_majority",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Ask a cheap judge about each candidate; where its confidence is below `threshold`, a stronger one instead.

    Jung et al. (2024), arXiv:2407.18370. The confidence in a judgement is `max(p, 1 - p)` for the mean p of several
    verdicts, the paper's simulated annotators; `tts.estimators.trust_threshold` finds the threshold that bounds the
    risk of a trusted judgement by labelled ones. Differences from the paper: candidates are judged one by one rather
    than in pairs; annotators are repeated verdicts, without examples of their preferences; the judge is left when its
    confidence is known, and what neither is sure of is an abstention, which does not vote; trust in the two together is
    earned.

    Args:
        n: number of samples; None spends the budget on samples and their judgements.
        verdicts: of the cheap judge on each candidate.
        threshold: confidence from which the cheap judge is trusted, from 0.5 to 1; above 1 always escalates.
        strong_threshold: confidence from which the strong judge is trusted; 0.5 always is.
        verifier: the cheap judge, whose scores are from 0 to 1.
        strong_verifier: the one that is asked where the cheap judge is not sure, or abstains.
        trust: `earned` lets the judges break ties of the vote, and choose among all answers once they have agreed with
            clear votes more often than by chance, over the problems of the run (`tts/toolkit/rankings/trust.py`);
            `blind` lets them choose among all at once, as in the paper.
        selector: weighted_majority, best_score, borda or majority.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter, UnknownName; InvalidParameter, too, for a score that is not from 0 to 1.
    """
    require(verdicts >= 1, "verdicts", "at least 1", verdicts)
    run = run.on(problem)
    choice = named(selector)
    trusted: dict[str, list[Score]] = {}  # candidate id -> the score that counts

    def select(candidates: Sequence[Candidate], _: Scores) -> Candidate | None:
        return choice(candidates, trusted)

    async def judged(_: Sequence[Candidate], latest: Sequence[Candidate]) -> bool:
        cheap = await run.verify(latest, verifier, repeats=verdicts)
        sure = {c.id: [s] for c, s in zip(latest, cheap, strict=True) if _confidence(s) >= threshold}
        unsure = [c for c in latest if c.id not in sure]
        strong = await run.verify(unsure, strong_verifier) if unsure else []
        trusted.update(sure)
        trusted.update({c.id: [s] for c, s in zip(unsure, strong, strict=True) if _confidence(s) >= strong_threshold})
        return False

    guard = Guard(run, f"{verifier}+{strong_verifier}", trust)
    run.fallback = guard.over(select)
    if n is None:
        candidates = await sample_until(run, judged, n=None)
    else:
        candidates = await run.generate(n=n)
        await judged(candidates, candidates)
    await guard.learn_from(candidates, equivalence, trusted)
    return await choose(run, guard.over(select), candidates, equivalence)


def _confidence(score: Score) -> float:
    """0 for an abstention."""
    if score.value is None:
        return 0.0
    require(0 <= score.value <= 1, f"a score of {score.verifier}", "from 0 to 1 (a probability)", score.value)
    return max(score.value, 1 - score.value)
