"""A Swiss tournament: neighbours in the table meet, round by round."""

from collections.abc import Sequence

from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.rankings.tournament import Pair, Player, Rounds, Verdicts, leader, play
from tts.toolkit.rankings.trust import Trust
from tts.toolkit.votes import Equivalence
from tts.types import Candidate, Problem


async def swiss(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    rounds: int = 3,
    verifier: str = "pairwise",
    games: int = 1,
    trust: Trust = "earned",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Let neighbours in the table of points meet before a judge, `rounds` times, and choose the answer with the most.

    Chen et al. (2024), arXiv:2411.19477, section 4, the league; Singh et al. (2026), arXiv:2603.04304, who let those of
    like points meet, about whom least is known. Differences from the papers: opponents are neighbours in the table, as
    in a Swiss tournament, where the league draws them; of a judge only who wins is read, not how clearly; trust in the
    judge is earned.
    Equal answers are one player. Ties, abstentions and meetings that the budget does not hold go to the answer with
    more votes, then to the one seen first; so does the end of a budget (`tts/toolkit/rankings/tournament.py`).

    Args:
        n: number of samples; None spends the budget, on four samples and then their meetings, in turns.
        rounds: of meetings; an answer meets each other one once at most.
        verifier: the judge; of any other verifier, the candidate with the higher score wins.
        games: verdicts on each meeting, K of the league.
        trust: `earned` lets the judge break ties of the vote, and choose among all answers once it has agreed with
            clear votes more often than by chance, over the problems of the run (`tts/toolkit/rankings/trust.py`);
            `blind` lets it choose among all at once, as in the paper.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter, UnknownName.
    """
    run = run.on(problem)
    require(rounds >= 1, "rounds", "at least 1", rounds)

    def swiss(players: Sequence[Player], verdicts: Verdicts) -> Rounds:
        points = dict.fromkeys(players, 0.0)
        met: set[Pair] = set()
        for _ in range(rounds):
            pairs = _neighbours(sorted(players, key=lambda one: (-points[one], -one.votes, one.place)), met)
            yield pairs
            for a, b in pairs:
                met |= {(a, b), (b, a)}
                points[a] += verdicts.share(a, b)
                points[b] += verdicts.share(b, a)
            for rests in {*players}.difference(*pairs):
                points[rests] += 0.5
        return leader(players, points.__getitem__)

    return await play(run, swiss, verifier, n=n, games=games, trust=trust, equivalence=equivalence)


def _neighbours(table: Sequence[Player], met: set[Pair]) -> list[Pair]:
    """Pairs of those that are closest in the table and have not met, from the top."""
    left, pairs = [*table], list[Pair]()
    while left:
        a = left.pop(0)
        b = next((other for other in left if (a, other) not in met), None)
        if b is not None:
            left.remove(b)
            pairs.append((a, b))
    return pairs
