"""Do plans with a verifier come true? Forecasts from pilots of four samples, against replays of whole simulated pools.

    python benchmarks/methods/planning_verifiers.py   prints the table and writes
    benchmarks/methods/planning_verifiers.md

A pool has 30 problems and 40 samples of each, every one with a score that is higher for right samples. A verification
costs 60 tokens, where a solution has 200 in the mean; the budget is that of 8 requests a problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tts.api.replays import replay
from tts.core.budget import Limits
from tts.planning.plan import foresee
from tts.pools.pool import Pool, Sample

STRATEGIES = ("majority_vote:n=none", "best_of_n:n=none,verifier=v")
WORLDS, PROBLEMS, SAMPLES, PILOT, DRAWS, SHUFFLES = 6, 30, 40, 4, 10, 3
TOKENS, SCORING = 200, 60
BUDGETS = (Limits(samples=8 * PROBLEMS), Limits(tokens=4 * (TOKENS + SCORING) * PROBLEMS))


def samples(seed: int) -> Iterator[Sample]:
    draw = np.random.default_rng(seed)
    for p in range(PROBLEMS):
        rate, favourites = draw.beta(1.0, 0.8), draw.dirichlet([0.5] * 5)
        for i in range(SAMPLES):
            right = bool(draw.random() < rate)
            score = float(np.clip(draw.normal(0.6 if right else 0.4, 0.2), 0, 1))
            answer = "right" if right else f"wrong{draw.choice(5, p=favourites)}"
            tokens = int(draw.gamma(8, TOKENS / 8)) + 1
            yield Sample("b", "m", f"p{p}", i, answer, right, 5, tokens, scores={"v": score})


def main() -> None:
    """Print the table; write it."""
    found: dict[tuple[str, str], list[tuple[float, float, bool]]] = {}
    for world in range(WORLDS):
        pool = Pool.of("w", samples(world)).priced({"v": SCORING})
        pilot = pool.take(np.flatnonzero(pool.sample < PILOT))
        for budget in BUDGETS:
            plan = foresee(pilot, STRATEGIES, budget, ["uniform"], DRAWS, world)
            for f in plan.forecasts:
                seeds = range(100, 100 + SHUFFLES)
                (row,) = replay(pool, f.strategy, run_budget=f.budget, allocators="uniform", seeds=seeds).rows
                assert row.accuracy is not None
                assert row.tokens is not None
                truth, inside = row.accuracy.mean, f.accuracy.low <= row.accuracy.mean <= f.accuracy.high
                unit = "samples" if budget.samples else "tokens"
                found.setdefault((f.strategy, unit), []).append(
                    (100 * (f.accuracy.mean - truth), 100 * (f.tokens / row.tokens - 1), inside)
                )
    lines = [
        f"| {strategy} | {unit} | {np.mean([e for e, *_ in some]):+.1f} | {np.mean([abs(e) for e, *_ in some]):.1f} | "
        f"{np.mean([t for _, t, _ in some]):+.1f} % | {100 * np.mean([i for *_, i in some]):.0f} % of {len(some)} |"
        for (strategy, unit), some in found.items()
    ]
    text = f"""# Do plans with a verifier come true?

Written by `python benchmarks/methods/planning_verifiers.py`: {WORLDS} simulated pools of {PROBLEMS} problems, pilots of
{PILOT} samples a problem, forecasts of {DRAWS} simulated benchmarks at a quarter to the double of the budget. A
verification costs {SCORING} tokens, a solution {TOKENS} in the mean, and each is one sample. Accuracy in points; the
truth is the mean of {SHUFFLES} shuffles of all that was recorded.

| strategy | budget in | mean error | mean absolute error | error of tokens | in the 95 % interval |
|---|---|---:|---:|---:|---:|
{chr(10).join(lines)}
"""
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
