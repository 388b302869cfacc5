"""Games of two solutions before a judge, in both orders, and what each of several solutions makes of its games."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tts.core.trials.context import Run
from tts.toolkit.judging.notes import ALONE, EMPTY, TOO_LONG, UNPAID, note
from tts.types import Score, ScoreKind


class Game(NamedTuple):
    """One verdict on several solutions, mostly two.

    Args:
        values: what it gives the first and the second ...; None where it could not be read, or not be asked for.
        asked, unread: whether a model was asked, and whether its reply could not be read. What is neither asked nor has
            values was too long for the judge's context.
        mass: of the labels, where the verdict was read from log-probabilities.
        left_out: characters of them that the judge's context could not hold.
    """

    values: tuple[float, ...] | None
    asked: bool = True
    unread: bool = False
    mass: float | None = None
    left_out: int = 0

    @property
    def swapped(self) -> Game:
        return self if self.values is None else self._replace(values=self.values[::-1])

    @property
    def without_value(self) -> Game:
        return self._replace(values=None, mass=None)


Play = Callable[[str, str], Awaitable[Sequence[Game]]]  # two solutions, in the order in which the judge sees them
Joined = Callable[[Game, Game], Sequence[Game]]  # what counts of two games with swapped order


@dataclasses.dataclass
class Tally:
    """The games of one solution: its part of their values, what could not be read, and notes for its score."""

    values: list[float] = dataclasses.field(default_factory=list)
    masses: list[float] = dataclasses.field(default_factory=list)
    verdicts: int = 0
    unread: int = 0
    left_out: int = 0
    too_long: bool = False

    def add(self, game: Game, place: int) -> None:
        self.verdicts += game.asked
        self.unread += game.unread
        self.too_long |= not game.asked and game.values is None
        self.left_out = max(self.left_out, game.left_out)
        if game.values is not None:
            self.values.append(game.values[place])
        if game.mass is not None:
            self.masses.append(game.mass)


def pairs(places: Sequence[int], pivots: int) -> Iterator[tuple[int, int]]:
    """All pairs; with `pivots`, those with one of the first so many."""
    for at, one in enumerate(places):
        if pivots and at >= pivots:
            return
        yield from ((one, other) for other in places[at + 1 :])


async def played(
    run: Run,
    texts: Sequence[str],
    play: Play,
    *,
    pivots: int = 0,
    swapped: bool = True,
    joined: Joined = lambda *games: games,
) -> list[Tally]:
    """The games of several solutions, each pair in both orders, or, without `swapped`, as they are given; one pair of
    texts is played once, however many solutions have them. An empty solution takes no part.

    A pair of which the budget holds one order only has no game: it would count the judge's bias towards a position.
    """
    tallies = [Tally() for _ in texts]
    found = [*pairs([i for i, text in enumerate(texts) if text], pivots)]

    async def pair(one: str, two: str) -> tuple[tuple[str, str], list[Game]]:
        if not swapped:
            return (one, two), [*await play(one, two)]
        orders = await _both_orders(run, play, one, two)
        return (one, two), [game for first, second in orders for game in joined(first, second)]

    distinct: dict[frozenset[str], tuple[str, str]] = {}
    for one, two in found:
        distinct.setdefault(frozenset((texts[one], texts[two])), (texts[one], texts[two]))
    games = dict(await run.gather(*(pair(*names) for names in distinct.values()))) if distinct else {}
    for one, two in found:
        names = (texts[one], texts[two])
        for game in games.get(names) or [game.swapped for game in games.get(names[::-1], ())]:
            for at, place in enumerate((one, two)):
                tallies[place].add(game, at)
    return tallies


async def _both_orders(run: Run, play: Play, one: str, two: str) -> Sequence[tuple[Game, Game]]:
    """Games with each order, the values of each as the solutions are named here."""

    async def order(swapped: bool) -> tuple[bool, Sequence[Game]]:
        return swapped, await (play(two, one) if swapped else play(one, two))

    by_order: Mapping[bool, Sequence[Game]] = dict(await run.gather(order(False), order(True)))
    swapped = [game.swapped for game in by_order.get(True, ())]
    return [*zip(by_order.get(False, ()), swapped, strict=False)]


def scores(
    tallies: Sequence[Tally], texts: Sequence[str], verifier: str, kind: ScoreKind, unit: str = "game"
) -> list[Score]:
    """The mean of each solution's values; an abstention of one without."""
    playing = len({*texts} - {""})

    def score(tally: Tally, solution: str) -> Score:
        count = len(tally.values)
        value = sum(tally.values) / count if count else None
        why = f"{sum(tally.values):g} in {count} {unit if count == 1 else unit + 's'}"
        if not count and not tally.verdicts:
            lonely = unit == "game" and playing == 1
            why = EMPTY if not solution else ALONE if lonely else TOO_LONG if tally.too_long else UNPAID
        text = note(why, tally.unread, tally.verdicts, tally.left_out)
        mass = min(tally.masses, default=None)
        return Score(value, verifier, kind, mass, text, verdicts=tally.verdicts, unread=tally.unread)

    return [score(*each) for each in zip(tallies, texts, strict=True)]
