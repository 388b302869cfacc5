"""A lesson: the turns of a chat, and what the model should say next."""

from __future__ import annotations

from random import Random
from typing import NamedTuple, Protocol


class Turn(NamedTuple):
    """One turn of a chat: the role (system, user, assistant or tool), and its text as the chat template writes it."""

    role: str
    content: str


class Lesson(NamedTuple):
    """Turns of a chat, and the assistant's next one: the reply alone is learned."""

    turns: tuple[Turn, ...]
    reply: str


class Family(Protocol):
    """The lessons of modes that belong together. A mode's name is its own among all families."""

    modes: tuple[str, ...]

    def lesson(self, random: Random, mode: str) -> Lesson: ...


def asked(user: str, system: str | None = None) -> tuple[Turn, ...]:
    """A user's turn, after a system turn if there is one."""
    turn = Turn("user", user)
    return (Turn("system", system), turn) if system else (turn,)
