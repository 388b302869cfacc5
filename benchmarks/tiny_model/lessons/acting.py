"""Acting with tools in the lookup world, and the decision to go on or stop, as `tts.toolkit.prompts.tools` asks for
it. A lesson is one turn of an episode, after those before it."""

from __future__ import annotations

from random import Random

from benchmarks.tiny_model.lessons.lesson import Lesson
from benchmarks.tiny_model.teachers.agents import Episode
from tts.tasks.lookup import MOST_HOPS, question

FAULTY = 0.5  # of the episodes that are looked at again
LOOKS = 0.7  # of the lessons of a second look are the look itself; the others, what follows from it


class Acting:
    """Modes `act lookup` and `check lookup`."""

    modes = ("act lookup", "check lookup")

    def lesson(self, random: Random, mode: str) -> Lesson:
        if mode == "act lookup":
            episode = played(random)
            begun = 0
        else:
            episode = self._answered(random)
            begun = len(episode.turns) + 1
            episode.check()
        own = [i for i, turn in enumerate(episode.turns) if i >= begun and turn.role == "assistant"]
        at = own[0] if begun and random.random() < LOOKS else random.choice(own)
        return Lesson(tuple(episode.turns[:at]), episode.turns[at].content)

    def _answered(self, random: Random) -> Episode:
        wanted = random.random() < FAULTY
        while (episode := played(random)).faulty != wanted:
            pass
        return episode


def played(random: Random) -> Episode:
    """An episode up to its first answer."""
    episode = Episode(random, question(random, random.randint(1, MOST_HOPS)))
    episode.act()
    return episode
