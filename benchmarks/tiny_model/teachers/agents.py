"""Episodes of an agent in the lookup world (`tts.tasks.lookup`): one call a turn, below a line that says which link it
is; an answer; and where a second look is asked for, a check of all links, line by line.

Slips are left in on purpose, each at the rate of its name, so that an agent that may act longer succeeds more often.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from benchmarks.tiny_model.chat import calling, with_tools
from benchmarks.tiny_model.lessons.lesson import Turn
from tts.tasks.lookup import Question
from tts.toolkit.environments.lookup import TOOLS, called
from tts.toolkit.prompts.tools import ACT, CHECK_AGAIN

WRONG = 0.2  # of the calls: the last two digits change places, or the key before is looked up again
NOTICED = 0.75  # of the wrong calls that have a result; one that ends in an error is always noticed
REPEATED = 0.12  # of the right calls, which are made once more
PREMATURE = 0.04  # of the turns after which links are left
OVERLOOKED = 0.15  # of the second looks that should find something
BARE = 0.1  # of the episodes, without the system turn of an agent


class Step(NamedTuple):
    """What to do next: the line above the call, the tool, and its argument."""

    label: str
    tool: str
    wanted: str


class Done(NamedTuple):
    """A call that counts: its step, the argument it had, and its result."""

    step: Step
    given: str
    result: str


class Episode:
    """An agent at one question.

    Attributes:
        made: the question.
        turns: of the chat so far; an answer is the last one once the agent has acted.
        done: the calls that count, in order.
    """

    def __init__(self, random: Random, made: Question) -> None:
        system = "" if random.random() < BARE else ACT
        self.turns = [with_tools(system, TOOLS), Turn("user", made.text)]
        self.done: list[Done] = []
        self._random, self.made = random, made

    @property
    def faulty(self) -> bool:
        """Whether a link is missing or went wrong."""
        return self.next() is not None or any(done.given != done.step.wanted for done in self.done)

    def act(self, noted: str = "") -> None:
        """Call tools until there is an answer. Args: noted: lines above the first turn's own."""
        while step := self.next():
            if self.done and not noted and self._random.random() < PREMATURE:
                break
            self._call(step, noted)
            noted = ""
        self.turns.append(Turn("assistant", f"{noted}Answer: {self.done[-1].result}"))

    def check(self) -> None:
        """Look again at all links when asked to, and go on from the first that is missing or went wrong."""
        self.turns.append(Turn("user", CHECK_AGAIN))
        blind, lines = self._random.random() < OVERLOOKED, []
        for i, (step, given, result) in enumerate(self.done):
            if given != step.wanted and not blind:
                lines.append(f"{step.label}: {given}, should be {step.wanted}.")
                del self.done[i:]
                break
            lines.append(f"{step.label}: {given}, {result}.")
        else:
            if (missing := self.next()) and not blind:
                lines.append(f"{missing.label}: missing.")
        noted = "".join(f"{line}\n" for line in lines)
        if blind:
            self.turns.append(Turn("assistant", f"{noted}Answer: {self.done[-1].result}"))
        else:
            self.act(noted)

    def next(self) -> Step | None:
        """The first step that is not done: it goes on from the results of those that are."""
        at = len(self.done)
        for i, walk in enumerate(self.made.walks):
            if at < walk.hops:
                link = f"{at + 1} of {walk.hops}"
                label = link if len(self.made.walks) == 1 else f"{('First', 'Second')[i]}, {link}"
                return Step(label, "lookup", self.done[-1].result if at else walk.start)
            at -= walk.hops
        if len(self.made.walks) == 1 or at:
            return None
        first, second = self.made.walks
        ends = self.done[first.hops - 1].result, self.done[first.hops + second.hops - 1].result
        return Step("Sum", "calculate", "+".join(ends))

    def _call(self, step: Step, noted: str) -> None:
        """Carry out a step: calls that go wrong and are noticed, or are needless, first."""
        argument = "key" if step.tool == "lookup" else "expression"
        while True:
            given = self._slipped(step) if self._random.random() < WRONG else step.wanted
            result = called(self.made.links, step.tool, {argument: given})
            call = calling(f"{noted}{step.label}: {step.wanted}", step.tool, {argument: given})
            self.turns += (Turn("assistant", call), Turn("tool", result))
            if given == step.wanted:
                noted = "Again, "
                again = self._random.random() < REPEATED
            else:
                noted = "Wait, "
                again = result.startswith("Error") or self._random.random() < NOTICED
            if not again:
                self.done.append(Done(step, given, result))
                return

    def _slipped(self, step: Step) -> str:
        """A wrong argument; the right one where none comes to mind."""
        text = step.wanted
        if text[-1].isdecimal() and text[-2:] != text[-2:][::-1]:
            return f"{text[:-2]}{text[-1]}{text[-2]}"
        return self.done[-1].given if self.done and step.tool == "lookup" else text
