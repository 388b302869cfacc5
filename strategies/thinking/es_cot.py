"""ES-CoT: a thought ends once the answer it would give has stayed the same for much longer than ever before."""

import re
from collections.abc import Sequence
from itertools import groupby, pairwise
from math import atan, cos, pi, sin, sqrt
from statistics import fmean, stdev

from tts.core.trials.context import Run
from tts.errors import InvalidParameter
from tts.toolkit.thinking import Probed, at_least, think_and_probe, token_shares
from tts.types import Candidate, Problem

STEP = re.compile(r"\S[^\n]*\n")


async def es_cot(
    problem: Problem,
    run: Run,
    *,
    jump: int = 10,
    p: float = 0.05,
    every: int = 16,
    probe: int = 20,
    think: int | None = None,
    answer: int | None = None,
) -> Candidate:
    """Probe the thought after each step, and end it once the run of equal answers is by `jump` longer than the last.

    Mao et al. (2025), arXiv:2509.14004: with the lengths r of the runs of equal answers and their differences
    d_i = r_(i+1) - r_i, stop when the latest difference is at least `jump` and a one-sided t-test finds the mean of
    those before it to be less. Differences from the paper: a step is a line; a probe closes the thought; where the
    paper does not say, a first run counts from 0, fewer than two earlier differences are not tested, and a probe
    without an answer is a run of its own, at which no thought ends. A probe is billed as verification.

    Args:
        jump: steps by which the latest run is longer than the one before, at the least; small models need fewer.
        p: level of significance of the test.
        every: tokens between two looks for the ends of steps.
        probe: tokens of a probe at most.
        think: tokens of the thought at most; None is the run's `max_tokens` less those of the answer.
        answer: tokens of the answer after a thought that ended otherwise; None is an eighth of `max_tokens`.
    Raises: AllFailed, InvalidParameter, CapabilityMissing for a server that cannot continue text.
    """
    run = run.on(problem)
    for name, value in (("jump", jump), ("every", every), ("probe", probe)):
        at_least(name, value, 1)
    if not 0 < p < 1:
        raise InvalidParameter(f"p must be a probability above 0 and below 1, as 0.05 in the paper, but got {p}", p=p)
    think, answer = token_shares(run, think, answer)

    def settled(probes: Sequence[Probed]) -> bool:
        return has_jumped([probed.answer for probed in probes], jump, p)

    return await think_and_probe(run, steps, settled, every=every, think=think, probe_tokens=probe, answer=answer)


def steps(text: str) -> list[str]:
    """The beginnings of a text, up to the end of each of its whole lines."""
    return [text[: step.end()] for step in STEP.finditer(text)]


def has_jumped(answers: Sequence[str | None], jump: int, p: float) -> bool:
    """Whether the run of equal answers at the end is longer than the one before by `jump`, and significantly so."""
    if not answers or answers[-1] is None:
        return False
    alike = [place if answer is None else answer for place, answer in enumerate(answers)]
    runs = [sum(1 for _ in run) for _, run in groupby(alike)]
    *earlier, latest = [after - before for before, after in pairwise(runs)] or runs
    if latest < jump or len(earlier) < 2:
        return latest >= jump
    mean, spread = fmean(earlier), stdev(earlier)
    return latest > mean and (spread == 0 or tail((latest - mean) * sqrt(len(earlier)) / spread, len(earlier) - 1) < p)


def tail(t: float, freedom: int) -> float:
    """P(T > t) of Student's distribution, for t >= 0 (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = atan(t / sqrt(freedom))
    odd = freedom % 2
    term = total = cos(angle) if odd and freedom > 1 else 1.0 - odd
    for k in range(2 + odd, freedom - 1, 2):
        term *= cos(angle) ** 2 * (k - 1) / k
        total += term
    within = 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
    return (1 - within) / 2
