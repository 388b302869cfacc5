"""A knockout tournament: candidates meet in pairs, and the better one goes on."""

from collections.abc import Sequence

from tts.core.trials.context import Run
from tts.toolkit.rankings.tournament import Player, Rounds, Verdicts, entrants, play
from tts.toolkit.rankings.trust import Trust
from tts.toolkit.votes import Equivalence
from tts.types import Candidate, Problem


async def knockout(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    verifier: str = "pairwise",
    games: int = 1,
    trust: Trust = "earned",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Let `n` candidates meet in pairs before a judge, round by round, until one is left.

    Chen et al. (2024), arXiv:2411.19477, section 3. Differences from the paper: candidates meet in the order in which
    they were sampled, where the paper draws pairs; where their number is odd, the last one goes on; of two with equal
    answers, the first goes on unjudged; trust in the judge is earned.
    An answer with many candidates loses only if each of them does. Ties, abstentions and meetings that the budget does
    not hold go to the answer with more votes, then to the one seen first; so does the end of a budget
    (`tts/toolkit/rankings/tournament.py`).

    Args:
        n: number of samples; None spends the budget, on four samples and then their meetings, in turns.
        verifier: the judge; of any other verifier, the candidate with the higher score wins.
        games: verdicts on each meeting, K of the paper (a judge that asks in both orders asks twice as often).
        trust: `earned` lets the judge break ties of the vote, and choose among all answers once it has agreed with
            clear votes more often than by chance, over the problems of the run (`tts/toolkit/rankings/trust.py`);
            `blind` lets it choose among all at once, as in the paper.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter, UnknownName.
    """
    run = run.on(problem)
    return await play(run, _bracket, verifier, n=n, games=games, trust=trust, equivalence=equivalence, players=entrants)


def _bracket(players: Sequence[Player], verdicts: Verdicts) -> Rounds:
    left = [*players]
    while len(left) > 1:
        pairs = [*zip(left[::2], left[1::2], strict=False)]
        yield [(a, b) for a, b in pairs if a.answer != b.answer]
        left = [verdicts.better(*pair) for pair in pairs] + left[2 * len(pairs) :]
    return left[0]
