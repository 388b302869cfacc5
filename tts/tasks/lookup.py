"""Questions about a lookup world: names lead to numbers, numbers to places, places to names, and only a tool can see it
(`tts.toolkit.environments.lookup`). A question asks for the key so many links on, or for the sum of two numbers.

A hop is a link to be looked up: the least number of lookups is that of hops, and a sum takes one calculation more.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import NamedTuple

MOST_HOPS = 4
OF_EACH = 6  # names, numbers and places in a world
SUMS = 0.4  # of the questions of two hops and more
END = 'End with "Answer: X".'

NAMES = (
    "Ada", "Amir", "Bela", "Carl", "Dina", "Emil", "Fay", "Gus", "Hana", "Igor", "Jana", "Kofi", "Lena", "Milo",
    "Nora", "Omar", "Pia", "Remy", "Sara", "Timo", "Uma", "Vera", "Wim", "Yuki",
)  # fmt: skip
PLACES = (
    "Accra", "Basel", "Cairo", "Delhi", "Essen", "Fargo", "Genoa", "Haifa", "Izmir", "Kyoto", "Lagos", "Malmo",
    "Nancy", "Osaka", "Paris", "Quito", "Riga", "Sofia", "Turin", "Utica", "Vaduz", "Wuhan", "Yalta", "Zagreb",
)  # fmt: skip


class Walk(NamedTuple):
    """A way through a world: its first key, and how many links it follows."""

    start: str
    hops: int

    def keys(self, links: Mapping[str, str]) -> list[str]:
        """The keys on the way, the first one and the last one among them."""
        found = [self.start]
        for _ in range(self.hops):
            found.append(links[found[-1]])
        return found


class Question(NamedTuple):
    """A question with its world: one walk asks for its last key, two for the sum of theirs, which are numbers."""

    text: str
    links: Mapping[str, str]
    walks: tuple[Walk, ...]

    @property
    def ends(self) -> list[str]:
        """The last key of each walk."""
        return [walk.keys(self.links)[-1] for walk in self.walks]

    @property
    def answer(self) -> str:
        return self.ends[0] if len(self.walks) == 1 else str(sum(map(int, self.ends)))

    @property
    def calls(self) -> int:
        """The least number of calls that find the answer."""
        return sum(walk.hops for walk in self.walks) + (len(self.walks) > 1)


def question(random: Random, hops: int) -> Question:
    """Make a question of so many hops, 1 to `MOST_HOPS`, in one of several phrasings, with a world of its own."""
    names, places = random.sample(NAMES, OF_EACH), random.sample(PLACES, OF_EACH)
    numbers = [str(number) for number in random.sample(range(100, 1000), OF_EACH)]
    # A ring of all keys, so that no walk comes back to its start.
    links = dict(zip([*names, *numbers, *places], [*numbers, *places, *names[1:], names[0]], strict=True))
    if hops == 1 or random.random() >= SUMS:
        walk = Walk(random.choice(names), hops)
        text = random.choice(_WALKS).format(start=walk.start, links=_links(hops))
        return Question(f"{_WORLD} {text} {END}", links, (walk,))
    first = random.randint(1, hops - 1)
    before_numbers = {1: names, 2: places, 0: numbers}  # by the links from there to a number, modulo 3
    one = Walk(random.choice(before_numbers[first % 3]), first)
    walks = [Walk(start, hops - first) for start in before_numbers[(hops - first) % 3]]
    # Apart, so that no lookup serves both.
    two = random.choice([walk for walk in walks if not {*walk.keys(links)} & {*one.keys(links)}])
    starts = {"one": one.start, "two": two.start}
    text = random.choice(_SUMS).format(**starts, links=_links(one.hops), more=_links(two.hops))
    return Question(f"{_WORLD} {text} {END}", links, (one, two))


def _links(hops: int) -> str:
    return "1 link" if hops == 1 else f"{hops} links"


_WORLD = "Names lead to numbers, numbers to places, places to names; the tools know where."
_WALKS = (
    "Start at {start} and follow {links}. Where are you?",
    "What is {links} on from {start}?",
    "Go {links} on from {start}. Which key do you reach?",
)
_SUMS = (
    "What is the sum of the number {links} on from {one} and the number {more} on from {two}?",
    "Follow {links} from {one}, and {more} from {two}. What do the two numbers add up to?",
)
