"""Sample, scrutinize and scale: many verifications of each candidate, and comparisons among those near the top."""

from collections.abc import Sequence
from math import inf

from tts.checks import require
from tts.core.trials.context import Run
from tts.selectors import Scores
from tts.toolkit.rankings.tournament import Player, Rounds, Verdicts, concluded, field, leader, share_of
from tts.toolkit.rankings.trust import Guard, Trust, preference
from tts.toolkit.votes import Equivalence, choose, equated
from tts.types import Candidate, Problem


async def sample_scrutinize_scale(
    problem: Problem,
    run: Run,
    *,
    n: int = 8,
    verifications: int = 4,
    margin: float = 0.05,
    games: int = 1,
    verifier: str = "genrm",
    tie_verifier: str = "pairwise",
    trust: Trust = "earned",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Verify each candidate `verifications` times; let those within `margin` of the best mean meet in pairs.

    Zhao et al. (2025), arXiv:2502.01839, algorithm 1: the answer that wins most of these meetings is chosen.
    Differences from the paper: equal answers do not meet; ties, abstentions and meetings that the budget does not hold
    go to the answer with more votes, then to the one seen first; trust in the verifier is earned.

    Args:
        n: number of samples, 200 in the paper.
        verifications: of each candidate, 50 in the paper.
        margin: of the mean score below the best within which candidates count as tied.
        games: verdicts on each meeting, 100 in the paper.
        verifier: scores each candidate.
        tie_verifier: the judge of meetings; of any other verifier, the candidate with the higher score wins.
        trust: `earned` lets the verifier break ties of the vote, and choose among all answers once it has agreed with
            clear votes more often than by chance, over the problems of the run (`tts/toolkit/rankings/trust.py`);
            `blind` lets it choose among all at once, as in the paper.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter, UnknownName.
    """
    for name, count in (("verifications", verifications), ("games", games)):
        require(count >= 1, name, "at least 1", count)
    run = run.on(problem)
    verdicts, guard = Verdicts(), Guard(run, verifier, trust)
    values: dict[str, float] = {}  # candidate id -> mean of its verifications, of those that have any

    def tied(candidates: Sequence[Candidate]) -> list[Player]:
        found = guard.allowed(candidates)
        best = max((values[c.id] for c in found if c.id in values), default=None)
        return field([c for c in found if best is None or values.get(c.id, -inf) >= best - margin])

    def select(candidates: Sequence[Candidate], _: Scores) -> Candidate | None:
        return concluded(_meetings(tied(candidates), verdicts)).candidate if candidates else None

    async def meet(a: Player, b: Player) -> None:
        one, two = await run.verify([a.candidate, b.candidate], tie_verifier, repeats=games)
        verdicts.add(a, b, share_of(one.value, two.value))

    run.fallback = select
    candidates = await run.generate(n=n)
    spelt = await equated(run, candidates, equivalence)
    if len(field(spelt)) > 1:
        scores = await run.verify(spelt, verifier, repeats=verifications)
        values |= {c.id: s.value for c, s in zip(spelt, scores, strict=True) if s.value is not None}
        await guard.learn(preference(spelt, values))
        for pairs in _meetings(tied(spelt), verdicts):
            await run.gather(*(meet(*pair) for pair in pairs))
    return await choose(run, select, candidates, equivalence)


def _meetings(players: Sequence[Player], verdicts: Verdicts) -> Rounds:
    if len(players) > 1:
        yield [(a, b) for at, a in enumerate(players) for b in players[at + 1 :]]
    return leader(players, lambda one: sum(verdicts.share(one, other) for other in players if other is not one))
