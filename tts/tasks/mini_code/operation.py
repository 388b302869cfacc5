"""An operation: one sentence of a specification and the lines of Python that do it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["numbers", "number", "pair", "text", "words"]
VARIABLES: dict[Kind, str] = {"numbers": "xs", "number": "n", "pair": "a, b", "text": "s", "words": "ws"}


class Operation(NamedTuple):
    """A template of one step, from a value of one kind to one of another.

    `told`: its sentences, which mean the same. `code`: lines, of which the last is an expression; they use the variable
    of the kind taken (`VARIABLES`), and may use that of the kind given. `slips`: the same with mistakes that people
    make, likeliest first. `k`: the range of its constant `{k}`, or `letter`; `confusing`: more people get it wrong than
    right. `most`: the largest number it is meant for, because it counts up to it.
    """

    takes: Kind
    gives: Kind
    told: tuple[str, ...]
    code: str
    slips: tuple[str, ...]
    k: tuple[int, int] | Literal["letter"] | None = None
    confusing: bool = False
    most: int | None = None


def step(code: str, gives: Kind, last: bool) -> list[str]:
    """The lines of a step in a function: the last one's value is returned, another one's kept."""
    *lines, value = code.split("\n")
    if last:
        return [*lines, f"return {value}"]
    return lines if value == VARIABLES[gives] else [*lines, f"{VARIABLES[gives]} = {value}"]
