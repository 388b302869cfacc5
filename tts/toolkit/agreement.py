"""Agreement of programs on the tests that they pass: CodeT's dual execution agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence


def dual_agreement(masks: Sequence[str]) -> list[float]:
    """A score for each program: the square root of the number of programs that pass exactly the same tests, times the
    number of these tests (Chen et al. 2022, CodeT, arXiv:2207.10397, section 2; the root is in their code).

    Args:
        masks: of each program, a character for each generated test, 1 where it passes.
    """
    members: dict[str, int] = {}
    for mask in masks:
        members[mask] = members.get(mask, 0) + 1
    return [math.sqrt(members[mask]) * mask.count("1") for mask in masks]
