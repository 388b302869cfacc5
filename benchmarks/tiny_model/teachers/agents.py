"""Episodes of an agent with tools: one call a turn, below a line that says which step it is; an answer; and where a
second look is asked for, a check of all steps, line by line. In the lookup world (`tts.tasks.lookup`), or with the
calculator alone at a chain of arithmetic.

Slips are left in on purpose, each at the rate of its name, so that an agent that may act longer succeeds more often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple

from benchmarks.tiny_model.chat import calling, with_tools
from benchmarks.tiny_model.lessons.lesson import Turn
from benchmarks.tiny_model.teachers.chains import SIGNS
from tts.messages import Tool
from tts.tasks.chains import Chain
from tts.tasks.lookup import Question
from tts.toolkit.environments.calculator import CALCULATOR
from tts.toolkit.environments.lookup import TOOLS, called
from tts.toolkit.prompts.tools import ACT, CHECK_AGAIN

WRONG = 0.2  # of the calls: the last two digits change places, or the key before is looked up again
NOTICED = 0.75  # of the wrong calls that have a result; one that ends in an error is always noticed
REPEATED = 0.12  # of the right calls, which are made once more
PREMATURE = 0.04  # of the turns after which steps are left
OVERLOOKED = 0.15  # of the second looks that should find something
BARE = 0.1  # of the episodes, without the system turn of an agent


class Step(NamedTuple):
    """What to do next: the line above the call, the tool, its argument, and whether a wrong call is noticed for
    sure."""

    label: str
    tool: str
    wanted: str
    sure: bool = False


class Done(NamedTuple):
    """A call that counts: its step, the argument it had, and its result."""

    step: Step
    given: str
    result: str


class Task(NamedTuple):
    """A problem for an agent: its text and answer, the tools, the world of `lookup`, the least number of calls, and the
    step that follows those that are done, None at the end."""

    text: str
    answer: str
    tools: Sequence[Tool]
    links: Mapping[str, str]
    calls: int
    step: Callable[[Sequence[Done]], Step | None]


def lookup_task(made: Question) -> Task:
    """A question about the lookup world: its walks one after the other, then the sum of their ends if there are two."""

    def step(done: Sequence[Done]) -> Step | None:
        at = len(done)
        for i, walk in enumerate(made.walks):
            if at < walk.hops:
                link = f"{at + 1} of {walk.hops}"
                label = f"{('First', 'Second')[i]}, {link}" if several else link
                return Step(label, "lookup", done[-1].result if at else walk.start, several)  # numbers are to be added
            at -= walk.hops
        if at or not several:
            return None
        return Step("Sum", "calculate", f"{done[made.walks[0].hops - 1].result}+{done[-1].result}")

    several = len(made.walks) > 1
    return Task(made.text, made.answer, TOOLS, made.links, made.calls, step)


def chain_task(made: Chain) -> Task:
    """A chain of arithmetic with a calculator."""

    def step(done: Sequence[Done]) -> Step | None:
        if len(done) == len(made.steps):
            return None
        operation, operand = made.steps[len(done)]
        value = done[-1].result if done else made.start
        return Step(f"Step {len(done) + 1}", "calculate", f"{value}{SIGNS[operation]}{operand}")

    return Task(made.text, str(made.answer), (CALCULATOR,), {}, len(made.steps), step)


class Episode:
    """An agent at one task.

    Attributes:
        turns: of the chat so far; an answer is the last one once the agent has acted.
        done: the calls that count, in order.
    """

    def __init__(self, random: Random, task: Task) -> None:
        system = "" if random.random() < BARE else ACT
        self.turns = [with_tools(system, task.tools), Turn("user", task.text)]
        self.done: list[Done] = []
        self.task = task
        self._random = random

    @property
    def faulty(self) -> bool:
        """Whether a step is missing or went wrong."""
        return self.task.step(self.done) is not None or any(done.given != done.step.wanted for done in self.done)

    def act(self, noted: str = "") -> None:
        """Call tools until there is an answer. Args: noted: lines above the first turn's own."""
        while step := self.task.step(self.done):
            if self.done and not noted and self._random.random() < PREMATURE:
                break
            self._call(step, noted)
            noted = ""
        self._answer(noted)

    def check(self) -> None:
        """Look again at all steps when asked to, and go on from the first that is missing or went wrong."""
        self.turns.append(Turn("user", CHECK_AGAIN))
        blind, noted = self._random.random() < OVERLOOKED, ""
        for i, (step, given, result) in enumerate(self.done):
            if given != step.wanted and not blind:
                noted += f"{step.label}: {given}, should be {step.wanted}.\n"
                del self.done[i:]
                break
            noted += f"{step.label}: {given}, {result}.\n"
        else:
            if (missing := self.task.step(self.done)) and not blind:
                noted += f"{missing.label}: missing.\n"
        if blind:
            self._answer(noted)
        else:
            self.act(noted)

    def _answer(self, noted: str) -> None:
        self.turns.append(Turn("assistant", f"{noted}Answer: {self.done[-1].result}"))

    def _call(self, step: Step, noted: str) -> None:
        """Carry out a step: calls that go wrong and are noticed, or are needless, first."""
        argument = "key" if step.tool == "lookup" else "expression"
        while True:
            given = self._slipped(step) if self._random.random() < WRONG else step.wanted
            result = called(self.task.links, step.tool, {argument: given})
            call = calling(f"{noted}{step.label}: {step.wanted}", step.tool, {argument: given})
            self.turns += (Turn("assistant", call), Turn("tool", result))
            if given == step.wanted:
                noted, again = "Again, ", self._random.random() < REPEATED
            else:
                noted = "Wait, "
                again = step.sure or result.startswith("Error") or self._random.random() < NOTICED
            if not again:
                self.done.append(Done(step, given, result))
                return

    def _slipped(self, step: Step) -> str:
        """A wrong argument; the right one where none comes to mind."""
        text = step.wanted
        if text[-2:].isdecimal() and text[-1] != text[-2]:
            return f"{text[:-2]}{text[-1]}{text[-2]}"
        return self.done[-1].given if self.done and step.tool == "lookup" else text
