"""A cascade of filters: each verifier leaves the best of the candidates that the one before has left."""

from collections.abc import Mapping, Sequence
from math import ceil, inf

from tts.checks import require
from tts.core.trials.context import Run
from tts.errors import InvalidParameter
from tts.selectors import Scores
from tts.toolkit.rankings.several import joined
from tts.toolkit.rankings.tournament import field, leader
from tts.toolkit.rankings.trust import Guard, Trust, preference
from tts.toolkit.votes import Equivalence, choose, equated
from tts.types import Candidate, Problem


async def cascade(
    problem: Problem,
    run: Run,
    *,
    n: int = 8,
    verifiers: str = "genrm+judge",
    keep: str = "0.5",
    least: int = 3,
    trust: Trust = "earned",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Filter `n` candidates by one verifier after the other; among the last ones left, vote.

    Jain et al. (2025), R2E-Gym, arXiv:2504.07164, hybrid test-time scaling: the better half by one verifier, of these
    the best by the next, and so on. Theirs is
    `verifiers=trajectory+regression+generated+trajectory,keep=0.5,trust=blind`.
    Differences from the paper: any verifiers; of candidates that tie to the end, the most frequent answer wins, then
    the one seen first, where the paper takes their mean; an abstention is passed over by its filter, which leaves all
    where every one abstained or the budget held none; trust in the first verifier is
    earned.

    Args:
        n: number of samples, 26 in the paper.
        verifiers: of the filters, joined by `+`; each is asked about those that are left, and one that is named again
            filters by the scores that it has given.
        keep: share of the candidates that each filter leaves, from 0 to 1, joined by `+`; 0 is those with the highest
            score, and so are the filters without a share. Candidates of equal scores stay together.
        least: candidates that a filter with a share leaves at the least.
        trust: `earned` lets the filters break ties of the vote, and choose among all answers once the first has agreed
            with clear votes more often than by chance, over the problems of the run (`tts/toolkit/rankings/trust.py`);
            `blind` lets them choose among all at once, as in the paper.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter, UnknownName.
    """
    require(least >= 1, "least", "at least 1", least)
    shares = _shares(keep)
    run = run.on(problem)
    names = joined(verifiers)
    guard = Guard(run, names[0], trust)
    filters = list[tuple[float, Mapping[str, float]]]()  # of each filter so far: its share, and the scores it has by id

    def left(candidates: Sequence[Candidate]) -> list[Candidate]:
        found = guard.allowed(candidates)
        for share, values in filters:
            found = _kept(found, values, share, least)
        return found

    def select(candidates: Sequence[Candidate], _: Scores) -> Candidate | None:
        players = field(left(candidates))
        return leader(players, lambda player: player.votes).candidate if players else None

    run.fallback = select
    known: dict[str, Mapping[str, float]] = {}  # by verifier, the scores that it has given, by id
    candidates = await run.generate(n=n)
    spelt = await equated(run, candidates, equivalence)
    for place, verifier in enumerate(names):
        asked = spelt if not place else left(spelt)
        if len(field(asked)) < 2:
            break  # one answer: no further filter could change it
        if verifier not in known:
            scores = await run.verify(asked, verifier)
            known[verifier] = {c.id: s.value for c, s in zip(asked, scores, strict=True) if s.value is not None}
        filters.append((shares[place] if place < len(shares) else 0.0, known[verifier]))
        if not place:
            await guard.learn(preference(asked, known[verifier]))
    return await choose(run, select, candidates, equivalence)


def _kept(candidates: Sequence[Candidate], values: Mapping[str, float], share: float, least: int) -> list[Candidate]:
    """What a filter leaves: those that score as high as the last of the share; all where nobody has a score."""
    scored = sorted((values[c.id] for c in candidates if c.id in values), reverse=True)
    if not scored:
        return [*candidates]
    number = max(least, ceil(share * len(candidates))) if share else 1
    bar = scored[min(number, len(scored)) - 1]
    return [c for c in candidates if values.get(c.id, -inf) >= bar]


def _shares(keep: str) -> list[float]:
    try:
        shares = [float(share) for share in joined(str(keep))]
    except ValueError:
        raise InvalidParameter(f"keep must be shares joined by +, such as 0.5+0, but got {keep!r}") from None
    for share in shares:
        require(0 <= share <= 1, "keep", "shares from 0 to 1, joined by +", keep)
    return shares
