"""Weaver: many weak verifiers, weighed by how they agree, without labels."""

from collections.abc import Mapping, Sequence
from math import exp

from tts.core.trials.context import Run
from tts.selectors import Scores, majority, value_of, whole
from tts.toolkit.rankings.several import joined
from tts.toolkit.rankings.tournament import Player, field, leader
from tts.toolkit.rankings.weak_labels import accuracies, added, agreements, log_odds
from tts.toolkit.sampling import sample_until
from tts.toolkit.votes import Equivalence, choose, equated
from tts.types import Candidate, Problem

VOTE = "vote"  # the labeller that says whether a candidate has the most frequent answer
Labels = Mapping[str, int]  # labeller -> 1 or -1; one that abstains is not in it


async def weaver(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    verifiers: str = "genrm+judge+self_certainty",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Have several verifiers label each candidate, and choose the one of the greatest P(correct | labels).

    Saad-Falcon et al. (2025), arXiv:2506.18203: verifiers are labellers of unknown accuracy, estimated without labels
    by how often they agree, and candidates are chosen by the posterior. Estimated by triplets (Fu et al. 2020,
    arXiv:2002.11955): `a_i^2 = E[v_i v_j] E[v_i v_k] / E[v_j v_k]`.
    Differences from the paper: agreements are added up over the run (`Run.add`), so that early problems know less, and
    a problem alone starts from equal weights; the plain vote is one of the labellers, which says who is right more
    often than wrong; a verifier that agrees with it less than by chance has no weight; a verifier that says the same of
    nearly all candidates is left out; of equal posteriors, that of the answer with more votes.

    Args:
        n: number of samples; None spends the budget on samples and their verifications.
        verifiers: joined by `+`; each labels a candidate right where its score is above the middle of its scale: 0.5,
            or for scores beyond 0 and 1, half-way between the problem's lowest and highest.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter, UnknownName.
    """
    run = run.on(problem)
    names = list(dict.fromkeys(joined(verifiers)))
    key = f"weaver {'+'.join(names)}"
    known: dict[str, float] = {}  # agreements of the run so far

    def select(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
        return _choice(candidates, scores, names, known)

    async def verified(_: Sequence[Candidate], latest: Sequence[Candidate]) -> bool:
        for name in names:
            await run.verify(latest, name)
        return False

    run.fallback = select
    if n is None:
        candidates = await sample_until(run, verified, n=None)
    else:
        candidates = await run.generate(n=n)
        await verified(candidates, candidates)
    spelt = await equated(run, candidates, equivalence)
    own = agreements(_labels(spelt, run.scores, names).values())
    known |= added(await run.recall(key), own)
    await run.add(key, own)
    return await choose(run, select, candidates, equivalence)


def _choice(
    candidates: Sequence[Candidate], scores: Scores, names: Sequence[str], known: Mapping[str, float]
) -> Candidate | None:
    """The first candidate of the answer with the greatest posterior; of several, with the most votes."""
    labels = _labels(candidates, scores, names)
    weights = {name: log_odds(a) for name, a in accuracies(known, [VOTE, *names], VOTE).items()}
    right = {id: _probability(sum(weights[name] * label for name, label in own.items())) for id, own in labels.items()}
    players = field(candidates)

    def posterior(player: Player) -> float:
        return round(max(right.get(c.id, 0.0) for c in candidates if c.answer == player.candidate.answer), 9)

    return leader(players, posterior).candidate if players else None


def _labels(candidates: Sequence[Candidate], scores: Scores, names: Sequence[str]) -> Mapping[str, Labels]:
    """Candidate id -> the labels of those that have an answer."""
    found = [c for c in whole(candidates) if c.answer is not None]
    top = majority(found, scores)
    labels: dict[str, dict[str, int]] = {
        c.id: {VOTE: 1 if top is not None and c.answer == top.answer else -1} for c in found
    }
    for name in names:
        values = {c.id: value_of([s for s in scores.get(c.id, ()) if s.verifier == name]) for c in found}
        known = {id: value for id, value in values.items() if value is not None}
        middle = _middle([*known.values()])
        for id, value in known.items():
            labels[id][name] = 1 if value > middle else -1
    return labels


def _middle(values: Sequence[float]) -> float:
    """Of the scale of these scores: 0.5, or where they leave 0 to 1, half-way between the lowest and the highest."""
    if all(0 <= value <= 1 for value in values):
        return 0.5
    return (min(values) + max(values)) / 2


def _probability(odds: float) -> float:
    return 1 / (1 + exp(-odds))
