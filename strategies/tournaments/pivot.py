"""A pivot tournament: everybody meets the same few."""

from collections.abc import Sequence

from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.rankings.tournament import Player, Rounds, Verdicts, leader, play
from tts.toolkit.rankings.trust import Trust
from tts.toolkit.votes import Equivalence
from tts.types import Candidate, Problem


async def pivot(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    pivots: int = 2,
    verifier: str = "pairwise",
    games: int = 1,
    trust: Trust = "earned",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Let each answer meet its neighbour in a ring, and then the `pivots` best of these: O(n) meetings.

    Kwok et al. (2026), arXiv:2607.05391: the Probabilistic Pivot Tournament of their program.
    Differences from the paper: of a judge only who wins is read, where the paper adds up expected rewards; the judge
    asks in both orders, where the ring is to even out the places; trust in the judge is earned.
    Equal answers are one player. Ties, abstentions and meetings that the budget does not hold go to the answer with
    more votes, then to the one seen first; so does the end of a budget (`tts/toolkit/rankings/tournament.py`).

    Args:
        n: number of samples; None spends the budget, on four samples and then their meetings, in turns.
        pivots: answers that all others meet.
        verifier: the judge; of any other verifier, the candidate with the higher score wins.
        games: verdicts on each meeting, the repeats of the paper.
        trust: `earned` lets the judge break ties of the vote, and choose among all answers once it has agreed with
            clear votes more often than by chance, over the problems of the run (`tts/toolkit/rankings/trust.py`);
            `blind` lets it choose among all at once, as in the paper.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter, UnknownName.
    """
    run = run.on(problem)
    require(pivots >= 1, "pivots", "at least 1", pivots)

    def pivotal(players: Sequence[Player], verdicts: Verdicts) -> Rounds:
        if len(players) == 1:
            return players[0]
        met = [*zip(players, [*players[1:], *players[:1]], strict=True)][: None if len(players) > 2 else 1]
        yield met

        def points(player: Player) -> float:
            shares = [verdicts.share(*pair) for pair in met if player == pair[0]]
            shares += [verdicts.share(b, a) for a, b in met if player == b]
            return sum(shares) / len(shares)

        best = sorted(players, key=lambda one: (-points(one), -one.votes, one.place))[:pivots]
        further = [(one, other) for one in best for other in players if other not in best[: best.index(one) + 1]]
        further = [(a, b) for a, b in further if (a, b) not in met and (b, a) not in met]
        yield further
        met += further
        return leader(players, points)

    return await play(run, pivotal, verifier, n=n, games=games, trust=trust, equivalence=equivalence)
