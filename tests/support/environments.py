"""Environments of sessions, in a file of their own: each process of a session imports it, and no more."""

import os
from typing import Any


class Tally:
    """An environment that sums what it is told."""

    def __init__(self, start: int = 0) -> None:
        self.sum = start

    def step(self, action: Any) -> Any:
        if action == "pid":
            return os.getpid()
        if action == "hang":
            while True:
                pass
        self.sum += int(action)
        if self.sum > 100:
            raise ValueError("more than a hundred")
        return {"sum": self.sum}


class Shell(Tally):
    """An environment that says that it executes programs."""

    executes_programs = True


class Odd:
    """An environment whose steps are no steps."""

    def __init__(self, kind: str) -> None:
        if kind == "unmade":
            raise KeyError("no such world")
        self.kind = kind

    def step(self, action: Any) -> Any:
        return object() if self.kind == "object" else self.later() if self.kind == "later" else None

    async def later(self) -> None:
        """A step that nobody awaits."""


class Noted(Tally):
    """A tally that notes the process that it is made in."""

    def __init__(self, file: str) -> None:
        super().__init__()
        with open(file, "a") as notes:
            notes.write(f"{os.getpid()}\n")


def broken() -> int:
    return 3
