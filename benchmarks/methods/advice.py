"""How often `tts advise split` recommends verification, on simulated pools: without signal, with little, with much.

    python benchmarks/methods/advice.py   prints the table and writes benchmarks/methods/advice.md; fails where a line
    is missed

Every pool has 40 problems, 16 samples of each and 4 judgements of each sample. A verifier is written as how often it
says yes to a right and to a wrong sample. Budgets are 16 solutions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tts.planning.advice import solving_or_verifying
from tts.pools.pool import Pool, Sample
from tts.types import Value

POOLS, PROBLEMS, SAMPLES, JUDGEMENTS, BUDGET = 40, 40, 16, 4, 16
ERROR = 0.025  # of a 95 % interval, on the side that recommends
LEAST = 0.8  # of the pools: where the gain is large it must be found


class World(Value, frozen=True):
    """A kind of pool.

    Args:
        yes: of right samples, of wrong ones; ratio: tokens of a verification over those of a solution.
        alike: whether the judgements of one sample are one judgement, repeated.
        popular: whether the verifier likes an answer for being frequent, which says nothing that a vote does not.
        misled: whether the most frequent answer of half of the problems is wrong.
        signal: what must come out: none, little (nothing is claimed), or much.
    """

    name: str
    yes: tuple[float, float]
    ratio: float
    signal: str
    alike: bool = False
    popular: bool = False
    misled: bool = False


WORLDS = (
    World("guesses", (0.5, 0.5), 1.0, "none"),
    World("guesses, cheap", (0.5, 0.5), 0.1, "none"),
    World("guesses, judgements alike", (0.5, 0.5), 0.1, "none", alike=True),
    World("likes frequent answers", (0.5, 0.5), 0.1, "little", popular=True),
    World("guesses, frequent answers wrong", (0.5, 0.5), 0.1, "none", misled=True),
    World("knows a little", (0.6, 0.5), 0.1, "little"),
    World("knows a little, dear", (0.65, 0.45), 1.0, "little"),
    World("knows, cheap", (0.75, 0.35), 0.1, "much"),
    World("knows, frequent answers wrong", (0.85, 0.25), 0.1, "much", misled=True),
    World("knows well", (0.95, 0.1), 0.5, "much"),
)


def samples(world: World, seed: int) -> Iterator[Sample]:
    draw = np.random.default_rng(seed)
    for p in range(PROBLEMS):
        right = draw.beta(0.8, 1.2)
        wrong = draw.dirichlet(np.full(4, 0.3 if world.misled else 1.0)) * (1 - right)
        shares = np.array([right, *wrong])
        likes = 0.2 + 0.6 * (shares >= shares.max()) if world.popular else None
        length = draw.normal(6, 0.6)
        for i in range(SAMPLES):
            answer = int(draw.choice(5, p=shares / shares.sum()))
            chance = world.yes[answer > 0] if likes is None else float(likes[answer])
            says = draw.random(1 if world.alike else JUDGEMENTS) < chance
            scores = tuple(float(v) for v in np.resize(says, JUDGEMENTS))
            tokens = int(np.exp(draw.normal(length + 0.3 * (answer > 0), 0.4))) + 1
            yield Sample("b", "m", f"p{p}", i, str(answer), answer == 0, 5, tokens, scores={"v": scores})


def main() -> int:
    """Print the table; write it."""
    lines = [
        "# How often verification is recommended",
        "",
        f"Written by `python benchmarks/methods/advice.py`: {POOLS} simulated pools of {PROBLEMS} problems, {SAMPLES} "
        f"samples "
        f"and {JUDGEMENTS} judgements of each for every line; the budget is {BUDGET} solutions. The ratio is that of "
        "`tts advise split`; the gain is that of the pair that other problems chose, over a plain vote of equal cost, "
        "the mean over pools. Verification is recommended where its 95 % interval, and that over the best vote of at "
        "most that cost, lie above 0. A crossover is one at the largest budget, found from there down.",
        "",
        "| verifier | yes: right, wrong | ratio | gain, points | interval holds it | recommended | crossover |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    missed = 0
    for world in WORLDS:
        found = [
            solving_or_verifying(Pool.of("w", samples(world, 1000 * i + 7)), "v", world.ratio) for i in range(POOLS)
        ]
        gains = [gain for one in found if (gain := one.at(BUDGET).gain) is not None]
        mean = float(np.mean([gain.mean for gain in gains]))
        holds = np.mean([(gain.low or 0) <= mean <= (gain.high or 0) for gain in gains])
        pays = np.mean([one.at(BUDGET).pays for one in found])
        crossover = np.mean([one.crossover is not None for one in found])
        bad = (world.signal == "none" and max(pays, crossover) > ERROR) or (world.signal == "much" and pays < LEAST)
        missed += bad
        lines.append(
            f"| {world.name}{' **MISSED**' if bad else ''} | {world.yes[0]:g}, {world.yes[1]:g} | {world.ratio:g} | "
            f"{100 * mean:+.1f} | {100 * holds:.0f} % | {100 * pays:.0f} % | {100 * crossover:.0f} % |"
        )
        print(lines[-1], flush=True)
    lines += [
        "",
        f"Bars: without signal at most {100 * ERROR:g} %; where the verifier knows, at least {100 * LEAST:.0f} %. Of "
        "one that knows a little nothing is claimed: 40 problems cannot show so small a gain.",
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
