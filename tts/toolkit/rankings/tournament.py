"""Tournaments of answers before a judge, with one rule for ties, for missing verdicts and for a budget that ends.

A tournament is a generator, pure: it yields the meetings of a round and returns the winner. `play` has the judge decide
the meetings; `concluded` goes on without it, as where a budget or a time limit ends in the middle.

- **Who plays.** Answers (`field`): equal answers would meet in vain, so that each answer has one player, the first
  candidate with it, and as many votes as candidates. Or candidates (`entrants`), of whom equal answers do not meet: an
  answer then loses only if each of its candidates does. Candidates without an answer play only where none has one;
  then each text is an answer. Which answers play depends on the trust in the judge (`trust.py` beside this file).
- **Ties.** A tied meeting, one on which the judge abstains or contradicts itself, and one that the budget did not hold
  go to the answer with more votes, and with equal votes to the one seen first. So a judge that says nothing at all
  leaves the plain vote.
- **A budget that ends** leaves the verdicts that came, and the winner is that of the meetings so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from typing import NamedTuple

from tts.checks import require
from tts.core.trials.context import Run
from tts.selectors import Scores, whole
from tts.toolkit.rankings.trust import Guard, Trust, clear_answer
from tts.toolkit.sampling import sample_until
from tts.toolkit.votes import Equivalence, choose, equated
from tts.types import Candidate

BATCH = 4  # samples between two tournaments where their number is open


class Player(NamedTuple):
    """An answer, a candidate with it, its votes, and its place in the order in which answers were seen."""

    answer: str
    candidate: Candidate
    votes: int
    place: int

    @property
    def name(self) -> str:
        return self.candidate.id


Pair = tuple[Player, Player]


class Verdicts:
    """The verdicts of the meetings so far."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], float | None] = {}
        self._of_answers: dict[tuple[str, str], list[float | None]] = {}

    def add(self, a: Player, b: Player, share: float | None) -> None:
        """Note that the judge gives the first this share, from 0 to 1; 0.5 is a tie, None says nothing."""
        for one, other, part in ((a, b, share), (b, a, None if share is None else 1 - share)):
            self._found[one.name, other.name] = part
            self._of_answers.setdefault((one.answer, other.answer), []).append(part)

    def said(self, a: Player, b: Player) -> float | None:
        """The share of the first, 1 for a win; None where they have not met, or the judge said nothing."""
        return self._found.get((a.name, b.name))

    def between(self, a: Player, b: Player) -> Sequence[float | None]:
        """The shares of the first one's answer in all meetings of its candidates with those of the other's."""
        return self._of_answers.get((a.answer, b.answer), ())

    def share(self, a: Player, b: Player) -> float:
        """The share of the first, where what the judge said nothing of is a tie."""
        said = self.said(a, b)
        return 0.5 if said is None else said

    def open(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Those pairs that have not met."""
        return [(a, b) for a, b in pairs if (a.name, b.name) not in self._found]

    def better(self, a: Player, b: Player) -> Player:
        """The winner of a meeting: the judge's, or of a tie the one with more votes, or the one seen first."""
        share = self.share(a, b)
        return max(a, b, key=lambda one: (share if one is a else 1 - share, one.votes, -one.place))


Rounds = Generator[Sequence[Pair], None, Player]
Tournament = Callable[[Sequence[Player], Verdicts], Rounds]


def entrants(candidates: Sequence[Candidate]) -> list[Player]:
    """A player for each candidate that plays, in the order in which they were sampled."""
    ordered = whole(candidates)
    named = [(c.answer, c) for c in ordered if c.answer is not None] or [(c.text, c) for c in ordered]
    votes = Counter(answer for answer, _ in named)
    places = {answer: place for place, answer in enumerate(votes)}
    return [Player(answer, candidate, votes[answer], places[answer]) for answer, candidate in named]


def field(candidates: Sequence[Candidate]) -> list[Player]:
    """A player for each answer, in the order in which they were seen."""
    first: dict[str, Player] = {}
    for player in entrants(candidates):
        first.setdefault(player.answer, player)
    return [*first.values()]


def concluded(rounds: Rounds) -> Player:
    """The winner by the verdicts that are there."""
    while True:
        try:
            next(rounds)
        except StopIteration as end:
            winner: Player = end.value
            return winner


def leader(players: Sequence[Player], points: Callable[[Player], float]) -> Player:
    """The player with the most points; of several, the one with more votes, or the one seen first."""
    return max(players, key=lambda player: (points(player), player.votes, -player.place))


async def play(
    run: Run,
    tournament: Tournament,
    verifier: str,
    *,
    n: int | None,
    games: int,
    trust: Trust,
    equivalence: Equivalence,
    players: Callable[[Sequence[Candidate]], list[Player]] = field,
) -> Candidate:
    """Sample, let the answers meet before `verifier`, and return the winner.

    Args:
        n: number of samples; None spends the budget, on `BATCH` samples and the meetings that they call for, in turns.
        games: verdicts on each meeting.
        trust: `toolkit/rankings/trust.py`. Until the judge is trusted, the first two answers of a clear vote meet, so
            that something can be learnt of it.
        verifier: a judge of pairs, or any other: of a meeting, the candidate with the higher score wins.
        players: `field` or `entrants`.

    Raises: AllFailed, BudgetExhausted, UnknownName, InvalidParameter.
    """
    require(games >= 1, "games", "at least 1", games)
    verdicts, guard = Verdicts(), Guard(run, verifier, trust)

    def select(candidates: Sequence[Candidate], _: Scores) -> Candidate | None:
        there = players(guard.allowed(candidates))
        return concluded(tournament(there, verdicts)).candidate if there else None

    async def meet(a: Player, b: Player) -> None:
        one, two = await run.verify([a.candidate, b.candidate], verifier, repeats=games)
        verdicts.add(a, b, share_of(one.value, two.value))

    async def decided(candidates: Sequence[Candidate], _: Sequence[Candidate] = ()) -> bool:
        spelt = await equated(run, candidates, equivalence)
        await guard.look()
        for pairs in tournament(players(guard.allowed(spelt)), verdicts):
            if meetings := verdicts.open(pairs):
                await run.gather(*(meet(a, b) for a, b in meetings))
        return False

    run.fallback = select
    if n is None:
        candidates = await sample_until(run, decided, n=None, size=BATCH)
    else:
        candidates = await run.generate(n=n)
        await decided(candidates)
    if trust == "earned":
        await _learn(guard, await equated(run, candidates, equivalence), verdicts, meet)
    return await choose(run, select, candidates, equivalence)


async def _learn(
    guard: Guard, candidates: Sequence[Candidate], verdicts: Verdicts, meet: Callable[[Player, Player], Awaitable[None]]
) -> None:
    """Learn of the judge by the meetings of a clear vote's answer, or by one with the next."""
    answer = clear_answer(candidates)
    players = sorted(field(candidates), key=lambda player: (-player.votes, player.place))
    if answer is None or len(players) < 2:
        return
    first, *others = players
    if not guard.trusted and not any(verdicts.between(first, other) for other in others):
        await meet(first, others[0])
    said = [share for other in others for share in verdicts.between(first, other) if share is not None]
    await guard.learn(sum(said) / len(said) if said else None)


def share_of(one: float | None, two: float | None) -> float | None:
    """The first's share of a meeting, by the scores of both: 1, 0, or 0.5 where they are equal; None where one is
    missing."""
    if one is None or two is None:
        return None
    return 0.5 if one == two else float(one > two)
