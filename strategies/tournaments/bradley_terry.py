"""Bradley-Terry: all answers meet, and the strongest by the model of paired comparisons is chosen."""

from collections.abc import Sequence

from tts.core.trials.context import Run
from tts.toolkit.rankings.bradley_terry import bradley_terry as strengths
from tts.toolkit.rankings.tournament import Player, Rounds, Verdicts, leader, play
from tts.toolkit.rankings.trust import Trust
from tts.toolkit.votes import Equivalence
from tts.types import Candidate, Problem


async def bradley_terry(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    verifier: str = "pairwise",
    games: int = 1,
    trust: Trust = "earned",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Let every two answers meet before a judge, fit P(i beats j) = p_i / (p_i + p_j), and choose the greatest p.

    Bradley & Terry (1952), Biometrika 39, fitted as by Hunter (2004); as a ranking by judges, Thakur et al. (2024),
    arXiv:2410.13716. Differences from the papers: candidates are ranked instead of systems; a tie is half a win; each
    answer also draws one game against a fixed opponent, so that strengths are finite; trust in the judge is earned.
    Equal answers are one player. Ties, abstentions and meetings that the budget does not hold go to the answer with
    more votes, then to the one seen first; so does the end of a budget (`tts/toolkit/rankings/tournament.py`).

    Args:
        n: number of samples; None spends the budget, on four samples and then their meetings, in turns.
        verifier: the judge; of any other verifier, the candidate with the higher score wins.
        games: verdicts on each meeting, each of the same two solutions.
        trust: `earned` lets the judge break ties of the vote, and choose among all answers once it has agreed with
            clear votes more often than by chance, over the problems of the run (`tts/toolkit/rankings/trust.py`);
            `blind` lets it choose among all at once, as in the paper.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter, UnknownName.
    """
    run = run.on(problem)
    return await play(run, _league, verifier, n=n, games=games, trust=trust, equivalence=equivalence)


def _league(players: Sequence[Player], verdicts: Verdicts) -> Rounds:
    if len(players) == 1:
        return players[0]
    yield [(a, b) for at, a in enumerate(players) for b in players[at + 1 :]]
    # Rounded, because strengths are computed to ten digits: those of equal wins must tie.
    fitted = strengths([[0.0 if a == b else verdicts.share(a, b) for b in players] for a in players])
    return leader(players, {a: round(value, 6) for a, value in zip(players, fitted, strict=True)}.__getitem__)
