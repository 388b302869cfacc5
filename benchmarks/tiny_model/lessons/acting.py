"""Acting with tools, and the decision to go on or stop, as `tts.toolkit.prompts.tools` asks for it. A lesson is one
turn of an episode, after those before it."""

from __future__ import annotations

from random import Random

from benchmarks.tiny_model.lessons.lesson import Lesson
from benchmarks.tiny_model.teachers.agents import Episode, Task, chain_task, lookup_task
from benchmarks.tiny_model.teachers.teacher import Asked
from tts.tasks.lookup import MOST_HOPS, question

MOST_STEPS = 7  # of a chain, lest an episode be longer than the model's context
FAULTY = 0.5  # of the episodes that are looked at again
LOOKS = 0.7  # of the lessons of a second look are the look itself; the others, what follows from it


class Acting:
    """Modes `act KIND` and `check KIND`: questions about a lookup world, and chains with a calculator."""

    modes = ("act lookup", "check lookup", "act chain", "check chain")

    def __init__(self, chains: Asked) -> None:
        self._chains = chains

    def lesson(self, random: Random, mode: str) -> Lesson:
        how, kind = mode.split()
        if how == "act":
            episode = self.played(random, kind)
            begun = 0
        else:
            wanted = random.random() < FAULTY
            while (episode := self.played(random, kind)).faulty != wanted:
                pass
            begun = len(episode.turns) + 1
            episode.check()
        own = [i for i, turn in enumerate(episode.turns) if i >= begun and turn.role == "assistant"]
        at = own[0] if begun and random.random() < LOOKS else random.choice(own)
        return Lesson(tuple(episode.turns[:at]), episode.turns[at].content)

    def played(self, random: Random, kind: str) -> Episode:
        """An episode up to its first answer."""
        episode = Episode(random, self._task(random, kind))
        episode.act()
        return episode

    def _task(self, random: Random, kind: str) -> Task:
        if kind == "lookup":
            return lookup_task(question(random, random.randint(1, MOST_HOPS)))
        while len((made := self._chains.make(random).data).steps) > MOST_STEPS:
            pass
        return chain_task(made)
