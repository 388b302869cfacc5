"""Numbered lists in replies."""

from __future__ import annotations

import re

from tts.answers.extract import without_thinking

MOST = 64  # items: a longer list is that of a model that repeats itself
_ITEM = re.compile(r"[ \t]{0,8}(\d{1,3})[.)][ \t]+(\S.*)")


def items(reply: str) -> list[str] | None:
    """The items of a list, one a line, numbered from 1 on. Lines without a number are no part of it.

    None where there is no item, where numbers are missing or come twice, and beyond `MOST` items.
    """
    lines = (without_thinking(reply) or "").splitlines()
    found = [match.groups() for match in map(_ITEM.fullmatch, lines) if match]
    if not 0 < len(found) <= MOST or [int(number) for number, _ in found] != list(range(1, len(found) + 1)):
        return None
    return [item.rstrip() for _, item in found]
