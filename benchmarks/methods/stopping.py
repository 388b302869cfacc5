"""As accurate as majority@64 for fewer tokens: the `marginal` allocator against stopping rules that are tuned like it.

    python benchmarks/methods/stopping.py POOLS [--quick]    prints the tables and writes benchmarks/methods/stopping.md

POOLS is a folder of the pools' JSON Lines files (they are under other licences, and not in this repository). Everything
is replayed through the real scheduler, with the same draws for all. Every method has one parameter, which is chosen by
cross-validation over pools: the value that saves most on the other pools and loses at most 0.3 points there.
`--quick` has fewer shuffles, prints, and writes nothing.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tts.api.replays import choose, replay
from tts.clusters.virtual.fleet import Fleet
from tts.pools.formats.imports import equated_pool, import_pool
from tts.pools.pool import UNKNOWN, Pool
from tts.runs.outcomes import Outcome

SEEDS = {  # shuffles of the samples: fewer where there are more problems and models
    "boinf_aime2024": 16,
    "boinf_gpqa_diamond": 4,
    "boinf_math500": 1,
    "deepconf_brumo25_r1q8b": 40,
    "ffs_traces8": 3,
    "gemma4_12b_trajectory10": 12,
    "qwen25math_rm8": 12,
    "tot_game24_gpt4_cot": 6,
}
ALGEBRA = ("boinf_math500", "qwen25math_rm8")  # pools with LaTeX answers: equal ones are spelt alike beforehand
OPEN = "majority_vote:n=none"
MOST = 64  # samples of a problem; of pools with fewer, all
SLOTS = (4, 16, 64)
SLACK = 0.3  # points of accuracy that saving tokens may cost
METHODS: dict[str, tuple[str, ...]] = {
    "marginal": tuple(f"marginal:floor={x}" for x in (0.004, 0.0028, 0.002, 0.0014, 0.001, 0.0007, 0.0005, 0.00035)),
    "Adaptive-Consistency": tuple(
        f"majority_vote:n={{n}},stop_at={x}" for x in (0.76, 0.81, 0.84, 0.87, 0.88, 0.9, 0.93, 0.94, 0.95, 0.97, 0.99)
    ),
    "ESC": tuple(f"esc:n={{n}},window={x}" for x in (4, 5)),
    "Best-of-infinity": tuple(f"best_of_infinity:factor={x}" for x in (10, 100)),
}
PUBLISHED = "majority_vote:n={n},stop_at=0.95"
PRIORS = {x: f"marginal:prior={x}" for x in ("0.5", "1")}
_DRAWS = 2000

Runs = Mapping[tuple[str, str], "Run"]  # by benchmark and model
Measured = dict[str, dict[tuple[str, str], tuple["Run", dict[str, "Run"]]]]  # majority@64, and all else by spec


class Run(NamedTuple):
    """One way to spend on one model: by problem the mean over seeds of its verdicts, and of its tokens; its hours."""

    right: dict[str, float]
    tokens: dict[str, float]
    hours: float


class Score(NamedTuple):
    """One way to spend on a pool, against majority@64: means over models; and their bootstrap over problems, with the
    same draws for every way to spend."""

    lost: float  # points of accuracy, below 0 where it is less accurate
    ratio: float  # of the tokens
    losts: NDArray[np.float64]
    ratios: NDArray[np.float64]

    @property
    def row(self) -> tuple[str, str]:
        return f"{self.lost:+.2f} {span(self.losts, '+.2f')}", f"{self.ratio:.3f} {span(self.ratios, '.3f')}"


def brief(found: Score) -> str:
    return f"{found.ratio:.3f} ({found.lost:+.2f})"


def span(draws: NDArray[np.float64], form: str) -> str:
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"[{low:{form}}, {high:{form}}]"


def run_of(outcomes: Iterable[Outcome]) -> Run:
    found: dict[str, list[tuple[float, float]]] = {}
    ends: dict[int, float] = {}
    for o in outcomes:
        found.setdefault(o.problem_id, []).append((float(bool(o.correct)), o.tokens))
        ends[o.seed] = max(ends.get(o.seed, 0.0), o.decided_s or 0.0)
    means = {p: np.mean(values, axis=0) for p, values in found.items()}
    hours = sum(ends.values()) / len(ends) / 3600
    return Run({p: float(m[0]) for p, m in means.items()}, {p: float(m[1]) for p, m in means.items()}, hours)


def score(runs: Runs, wholes: Runs) -> Score:
    problems = {(benchmark, p): 0 for (benchmark, _), whole in wholes.items() for p in whole.right}
    places = {p: i for i, p in enumerate(problems)}
    pick = np.random.default_rng(0).multinomial(len(places), np.full(len(places), 1 / len(places)), _DRAWS)
    found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    draws: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for key, whole in wholes.items():
        run = runs[key]
        rows = [(run.right[p] - whole.right[p], 1.0, run.tokens[p], whole.tokens[p]) for p in whole.right]
        drawn = pick[:, [places[key[0], p] for p in whole.right]] @ np.array(rows)
        for sums, kept in ((np.sum(rows, axis=0)[None], found), (drawn, draws)):
            kept.append((100 * sums[:, 0] / np.maximum(sums[:, 1], 1), sums[:, 2] / np.maximum(sums[:, 3], 1)))
    (lost, ratio), (losts, ratios) = np.mean(found, axis=0), np.mean(draws, axis=0)
    return Score(float(lost[0]), float(ratio[0]), losts, ratios)


# --- replays


def pools_of(folder: Path) -> Iterator[tuple[str, dict[tuple[str, str], Pool]]]:
    """Each file, by benchmark and model. Where tokens were not recorded, a sample counts as 1,000."""
    for name in SEEDS:
        pool = import_pool([folder / f"{name}.jsonl.gz"], keep_text=False)
        if name in ALGEBRA:
            pool = asyncio.run(equated_pool(pool, "math"))
        pool = replace(
            pool, completion_tokens=np.where(pool.completion_tokens == UNKNOWN, 1000, pool.completion_tokens)
        )
        yield (
            name,
            {
                (benchmark, model): choose(pool.select(benchmark=benchmark), None, model)
                for benchmark in pool.benchmark.present
                for model in pool.select(benchmark=benchmark).model.present
            },
        )


def measured(pool: Pool, seeds: int) -> tuple[Run, dict[str, Run]]:
    """Majority@64, or of all samples where there are fewer, and everything that is compared with it."""
    most = min(MOST, *(group.rows.stop - group.rows.start for group in pool.groups()))
    whole = run(pool, f"majority_vote:n={most}", seeds)
    budget = f"tokens={int(1.01 * np.mean(list(whole.tokens.values()))) + 1}"
    found: dict[str, Run] = {}
    for spec in (spec for specs in METHODS.values() for spec in specs):
        if "{n}" in spec:
            found[spec] = run(pool, spec.format(n=most), seeds)
        else:
            found[spec] = run(pool, OPEN, seeds, allocator=spec, budget=budget)
    for spec in PRIORS.values():
        found[spec] = run(pool, OPEN, seeds, allocator=spec, budget=budget)
    for slots in SLOTS:
        found[at(slots)] = run(pool, OPEN, seeds, slots, allocator="marginal", budget=budget)
    return whole, found


def at(slots: int) -> str:
    return f"marginal, {slots} in flight"


def run(pool: Pool, spec: str, seeds: int, slots: int = 16, *, allocator: str = "", budget: str = "") -> Run:
    how = (allocator,) if allocator else ()
    return run_of(replay(pool, spec, budgets=budget, allocators=how, seeds=seeds, fleet=Fleet(slots=slots)).outcomes)


# --- cross-validation


def chosen(specs: Sequence[str], rest: Sequence[Mapping[str, Score]], lost: Callable[[list[float]], float]) -> str:
    """The spec that saves most on the `rest` of the pools, of those that lose at most `SLACK` there; `lost` sums up
    their differences."""
    kept = [s for s in specs if lost([scores[s].lost for scores in rest]) >= -SLACK]
    return min(kept or specs[-1:], key=lambda s: float(np.mean([scores[s].ratio for scores in rest])))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


CRITERIA: dict[str, Callable[[list[float]], float]] = {
    "on every other pool": min,
    "in the mean over the other pools": mean,
}


def cross_validated(scores: Mapping[str, Mapping[str, Score]], criterion: str) -> str:
    rows, saved, lost = [], {}, {}
    for name, here in scores.items():
        rest = [found for other, found in scores.items() if other != name]
        spec = {m: chosen(specs, rest, CRITERIA[criterion]) for m, specs in METHODS.items()}
        ours, theirs = here[spec["marginal"]], here[spec["Adaptive-Consistency"]]
        saved[name] = 1 - ours.ratio / theirs.ratio
        lost[name] = ours.lost
        rows.append(
            (name, parameter(spec["Adaptive-Consistency"]), *theirs.row, parameter(spec["marginal"]), *ours.row,
             f"{saved[name]:.0%} {span(1 - ours.ratios / theirs.ratios, '.0%')}")
        )  # fmt: skip
    head = ("pool", "stop_at", "difference", "tokens", "floor", "difference", "tokens", "under AC")
    lines = [verdict(f"{name}: tokens under tuned Adaptive-Consistency", v, 0.15) for name, v in saved.items()]
    lines += [verdict(f"{name}: points lost", v, -SLACK) for name, v in lost.items()]
    return "\n\n".join([f"### Chosen to lose at most {SLACK} points {criterion}", table(head, rows), "\n".join(lines)])


def others(scores: Mapping[str, Mapping[str, Score]]) -> str:
    """All methods, tuned on every other pool."""
    rows = []
    for name, here in scores.items():
        rest = [found for other, found in scores.items() if other != name]
        picked = {m: chosen(specs, rest, min) for m, specs in METHODS.items()}
        rows.append((name, *(brief(here[s]) for s in picked.values())))
    return table(("pool", *METHODS), rows)


def parameter(spec: str) -> str:
    return spec.rpartition("=")[2]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' + '---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def verdict(name: str, value: float, bar: float, above: bool = True) -> str:
    met = value >= bar if above else value <= bar
    return f"- {'met' if met else '**missed**'}: {name} {value:.2f}, bar {'>=' if above else '<='} {bar:g}"


# --- the file


def in_flight(scores: Mapping[str, Mapping[str, Score]], hours: Mapping[str, Mapping[str, float]]) -> str:
    rows = []
    for name, here in scores.items():
        for slots in SLOTS:
            rows.append((name, slots, *here[at(slots)].row, f"{hours[name][at(slots)]:.2f}"))
        rows.append(
            (f"{name}, Adaptive-Consistency at 0.95", 16, *here[PUBLISHED].row, f"{hours[name][PUBLISHED]:.2f}")
        )
    head = ("pool", "in flight", "difference", "tokens, of majority@64's", "virtual hours")
    aim = scores["boinf_aime2024"][at(16)]
    lines = [
        verdict("boinf_aime2024, 16 in flight: tokens", aim.ratio, 0.20, above=False),
        verdict("boinf_aime2024, 16 in flight: points lost", aim.lost, -SLACK),
    ]
    shown = (at(16), *PRIORS.values())
    priors = [(name, *(brief(here[spec]) for spec in shown)) for name, here in scores.items()]
    return "\n\n".join(
        [
            "## With its default parameters, at several numbers of requests in flight",
            table(head, rows),
            "\n".join(lines),
            "The strength of the prior (`marginal:prior=`), 16 in flight, tokens (difference):",
            table(("pool", "0.7, the default", *PRIORS), priors),
        ]
    )


def curve(scores: Mapping[str, Mapping[str, Score]]) -> str:
    parts = []
    for method, specs in METHODS.items():
        rows = [(parameter(s), *(brief(here[s]) for here in scores.values())) for s in specs]
        parts += [f"{method}:", table(("parameter", *scores), rows)]
    return "\n\n".join(["## Every value that was tried: tokens (difference), 16 in flight", *parts])


def measure(folder: Path, quick: bool) -> Measured:
    began, found = time.perf_counter(), {}
    for name, models in pools_of(folder):
        seeds = max(1, SEEDS[name] // 4) if quick else SEEDS[name]
        with ProcessPoolExecutor() as workers:
            found[name] = dict(zip(models, workers.map(measured, models.values(), repeat(seeds)), strict=True))
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    return found


def text_of(results: Measured) -> str:
    scores: dict[str, dict[str, Score]] = {}
    hours: dict[str, dict[str, float]] = {}
    for name, by_model in results.items():
        wholes = {key: whole for key, (whole, _) in by_model.items()}
        for spec in next(iter(by_model.values()))[1]:
            runs = {key: found[spec] for key, (_, found) in by_model.items()}
            scores.setdefault(name, {})[spec] = score(runs, wholes)
            hours.setdefault(name, {})[spec] = mean([run.hours for run in runs.values()])
    return "\n\n".join(
        [
            "# Stopping rules: as accurate as majority@64, for fewer tokens",
            *(part.strip() for part in ABOUT),
            "## Against Adaptive-Consistency, each tuned on the other pools",
            *(cross_validated(scores, criterion) for criterion in CRITERIA),
            "### All methods, each tuned to lose at most 0.3 points on every other pool: tokens (difference)",
            others(scores),
            in_flight(scores, hours),
            curve(scores),
            TRIED.strip(),
        ]
    )


def main() -> None:
    """Print the tables; write the file unless `--quick`."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    quick = "--quick" in sys.argv
    text = text_of(measure(Path(sys.argv[1]), quick))
    print(text)
    if not quick:
        Path(__file__).with_suffix(".md").write_text(text + "\n")


ABOUT = (
    """
Written by `python benchmarks/methods/stopping.py POOLS`. Means over a pool's models; intervals are 95 %, over problems,
paired. `tokens` are those of majority@64 with the same draws (of pools with fewer than 64 samples of a problem, of the
majority of all); `difference` is in points of accuracy against it. deepconf's tokens were not recorded: its samples are
counted.
""",
    """
Adaptive-Consistency is `majority_vote:n=64,stop_at=...`, one request of a problem in flight, so that it wastes nothing
however many slots there are; ESC is `esc`; Best-of-infinity is the allocator. Their parameters are cross-validated.
The strength of `marginal`'s prior, 0.7, is not: it was chosen among 0.35, 0.5, 0.7 and 1 with all pools in sight.
""",
)
TRIED = """
## What was tried besides, and not kept

In a simulation made for this trial (one request in flight, not this file's replays). Tokens at 0.3 points lost on
boinf_aime2024, where the rule that was kept and its predecessor both needed 0.15 to 0.16:

- Stopping by gain per token, with lengths predicted for each problem: 0.16. (Ranking still divides by expected cost.)
- Counting what a change of leader is worth (accuracy in proportion to a power of an answer's share, 1 to 5) in place of
  who leads: 0.15 to 0.16.
- Giving hopeless problems up earlier, by the square of the leaders' share: 0.18 to 0.21.
- The expected loss of stopping now, whatever it costs to mend it: 0.20 to 0.29.
- A prior that is a mixture of 51 kinds of votes, fitted to the pool's final counts, which no run knows: 0.15. Over all
  pools it saved less than the one number that is learned now.

What was kept: waiting for samples in flight (before, `marginal` spent 0.23, 0.28, 0.31 and 0.34 of majority@64's tokens
on four models of boinf_aime2024 with 1, 4, 16 and 64 in flight, and with it 0.23 with any number); the learned prior;
looking no further than the samples left. What each of the last two saves was seen in a simulation only, not in replays.
The strength of the prior and the factor of the leader's share were chosen there, with all pools in sight.

What the cross-validation chooses hangs on the noise of small pools: deepconf has 29 problems, and its losses at one
`stop_at` differed by a point between two sets of shuffles. Adaptive-Consistency has steps: at 0.88 it wants three votes
to none, at 0.94 four, and the first of these is a good choice on every pool here. The table before this one shows all.
"""

if __name__ == "__main__":
    main()
