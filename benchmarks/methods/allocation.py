"""One budget for many problems: what allocators buy, on recorded generations of real models.

    python benchmarks/methods/allocation.py POOLS [SECTION...]    prints the tables and writes
                                                                  benchmarks/methods/allocation.md
    python benchmarks/methods/allocation.py limits                needs no pools

POOLS is a folder of the pools' JSON Lines files (they are under other licences, and not in this repository). Everything
is replayed through the real scheduler, with the same draws for all; `uniform` is majority@N over the same samples.
Sections: spend, math, misled, limits, speed. What they save without losing accuracy is in
benchmarks/methods/stopping.py.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from tts.allocators.marginal import marginal
from tts.api.replays import choose, replay
from tts.clusters.virtual.fleet import Fleet
from tts.core.actions import Finished, Generate, Request, Work
from tts.core.allocation.shared_budget import SharedBudget
from tts.core.budget import Limits
from tts.intervals import paired_difference
from tts.pools.formats.imports import equated_pool, import_pool
from tts.pools.pool import Pool, Sample
from tts.runs.outcomes import Outcome
from tts.types import Candidate, Completion, Cost, Usage

SETS = {"boinf_aime2024": 18, "boinf_gpqa_diamond": 4}  # shuffles of the samples: fewer where there are more problems
FLEET = Fleet(slots=4)  # few in flight, so that decisions know much; `SLOTS` show what fewer and more come to
SLOTS = (1, 8, 64)
SPENDING = ("marginal", "adaptive_consistency", "esc", "best_of_infinity", "blend_asc", "saturation", "bandit")
OPEN = "majority_vote:n=none"


class Cell(NamedTuple):
    """One way to spend on one model: by problem its accuracy over seeds; tokens of a problem, in the mean."""

    right: Mapping[str, Sequence[float]]
    tokens: float

    @property
    def accuracy(self) -> float:
        return 100 * float(np.mean([np.mean(values) for values in self.right.values()]))


def cells(outcomes: Iterable[Outcome]) -> dict[str, Cell]:
    """By label, of one replay."""
    right: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    tokens: dict[str, list[int]] = defaultdict(list)
    for o in outcomes:
        label = o.allocator or f"{o.strategy}:{o.params}"
        right[label][o.problem_id].append(float(bool(o.correct)))
        tokens[label].append(o.tokens)
    return {label: Cell(found, float(np.mean(tokens[label]))) for label, found in right.items()}


def uniform_at(pool: Pool, n: int, seeds: int) -> Cell:
    """Majority@n with the same draws."""
    return cells(replay(pool, f"majority_vote:n={n}", seeds=seeds, fleet=FLEET).outcomes)[f"majority_vote:n={n}"]


def allocated(
    pool: Pool, how: Sequence[str], seeds: int, tokens: float | None = None, fleet: Fleet = FLEET, spec: str = OPEN
) -> dict[str, Cell]:
    budget = "" if tokens is None else f"tokens={int(tokens)}"
    return cells(replay(pool, spec, budgets=budget, allocators=how, seeds=seeds, fleet=fleet).outcomes)


def difference(a: Cell, b: Cell) -> tuple[float, float, float]:
    """In points of accuracy, with its 95 % interval over problems."""
    found = paired_difference(a.right, b.right)
    assert found is not None and found.low is not None and found.high is not None
    return 100 * found.mean, 100 * found.low, 100 * found.high


def signed(values: tuple[float, float, float]) -> str:
    return f"{values[0]:+.1f} [{values[1]:+.1f}, {values[2]:+.1f}]"


def models_of(pools: Path, name: str) -> dict[str, Pool]:
    pool = import_pool([pools / f"{name}.jsonl.gz"])
    return {model: choose(pool, None, model) for model in pool.model.present}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' + '---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def verdict(name: str, value: float, bar: float, above: bool = True) -> str:
    met = value >= bar if above else value <= bar
    return f"- {'met' if met else '**missed**'}: {name} {value:.2f}, bar {'>=' if above else '<='} {bar:g}"


def _saving(wholes: Mapping[str, Cell], found: Mapping[str, Cell]) -> tuple[float, float, float]:
    differences = [found[m].accuracy - wholes[m].accuracy for m in wholes]
    ratios = [found[m].tokens / wholes[m].tokens for m in wholes]
    return float(np.mean(differences)), min(differences), float(np.mean(ratios))


# --- more accurate, for as many tokens


def spend(pools: Path) -> str:
    """The budget is what uniform majority@4, and @8, spends."""
    parts = ["## More accurate than majority@4 and @8, for as many tokens"]
    overall: dict[int, list[float]] = defaultdict(list)
    for name, seeds in SETS.items():
        part, gains = _spend(name, models_of(pools, name), seeds)
        parts.append(part)
        for n, values in gains.items():
            overall[n] += values
    parts.append("### All models together\n\n" + "\n".join(
        verdict(f"budget of majority@{n}: mean gain over {len(values)} models", float(np.mean(values)), 2.0)
        for n, values in overall.items()
    ))  # fmt: skip
    return "\n\n".join(parts)


def _spend(name: str, models: Mapping[str, Pool], seeds: int) -> tuple[str, dict[int, list[float]]]:
    gains: dict[int, list[float]] = {}
    parts = [f"### {name}, {seeds} shuffle{'s' * (seeds > 1)}"]
    most = {m: uniform_at(pool, 64, seeds) for m, pool in models.items()}
    for n in (4, 8):
        uniform = {m: uniform_at(pool, n, seeds) for m, pool in models.items()}
        found = {m: allocated(pool, SPENDING, seeds, uniform[m].tokens) for m, pool in models.items()}
        rows = []
        for m, base in uniform.items():
            cell = found[m]["marginal"]
            rows.append((m, f"{base.accuracy:.1f}", signed(difference(cell, base)), f"{cell.tokens / base.tokens:.2f}",
                         f"{most[m].accuracy - base.accuracy:+.1f}"))  # fmt: skip
        gains[n] = [found[m]["marginal"].accuracy - uniform[m].accuracy for m in models]
        ceiling = float(np.mean([most[m].accuracy - uniform[m].accuracy for m in models]))
        others = [(how, *_gain(uniform, {m: f[how] for m, f in found.items()})) for how in found[next(iter(found))]]
        for slots in SLOTS:
            busy = {
                m: allocated(pool, ["marginal"], seeds, uniform[m].tokens, Fleet(slots=slots))["marginal"]
                for m, pool in models.items()
            }
            others.append((f"marginal, {slots} slots", *_gain(uniform, busy)))
        parts += [
            f"Budget: the tokens of majority@{n}.",
            table(("model", f"majority@{n}", "marginal's gain", "tokens", "majority@64's gain"), rows),
            verdict("mean gain", float(np.mean(gains[n])), 2.0)
            + f" (majority@64, at {64 // n} times the tokens, gains {ceiling:.2f})\n"
            + verdict("worst model", min(gains[n]), -0.5),
            table(("allocator", "mean gain", "worst", "tokens"), others),
        ]
    return "\n\n".join(parts), gains


def _gain(uniform: Mapping[str, Cell], found: Mapping[str, Cell]) -> tuple[str, str, str]:
    d, worst, ratio = _saving(uniform, found)
    return f"{d:+.2f}", f"{worst:+.2f}", f"{ratio:.2f}"


def math(pools: Path) -> str:
    """LaTeX answers, equal ones spelt alike by worker processes beforehand."""
    began = time.perf_counter()
    pool = asyncio.run(equated_pool(import_pool([pools / "boinf_math500.jsonl.gz"]), "math"))
    took = time.perf_counter() - began
    part, _ = _spend("boinf_math500", {m: choose(pool, None, m) for m in pool.model.present}, 1)
    return "\n\n".join(
        [
            "## MATH-500, answers compared by algebra",
            f"Comparing the answers of {len(pool):,} samples took {took:.0f} s in worker processes.",
            part,
        ]
    )


# --- mis-specified cases


def made_pool(rights: Sequence[float], score: Callable[[int, bool, np.random.Generator], float], seed: int) -> Pool:
    """100 samples of each problem, right so often, else wrong in one of six ways, the first the likeliest."""
    draw = np.random.default_rng(seed)
    samples = []
    for i, p in enumerate(rights):
        wrong = draw.choice(6, 100, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])
        lengths = np.exp(draw.normal(5, 0.5, 100)).astype(int) + 1
        for k, right in enumerate(draw.random(100) < p):
            samples.append(
                Sample("made", "made", f"p{i}", k, "right" if right else f"wrong{wrong[k]}", bool(right), 10,
                       int(lengths[k]), scores={"verifier": score(i, bool(right), draw)})
            )  # fmt: skip
    return Pool.of("made", samples)


def _honest(i: int, right: bool, draw: np.random.Generator) -> float:
    return float(np.clip(draw.normal(0.7 if right else 0.3, 0.2), 0, 1))


def _blind(i: int, right: bool, draw: np.random.Generator) -> float:
    return float(draw.random())


def _hostile(i: int, right: bool, draw: np.random.Generator) -> float:
    return _honest(i, right != (i % 5 == 0), draw)


CASES: dict[str, tuple[Sequence[float], Callable[[int, bool, np.random.Generator], float]]] = {
    "all equally hard (p = 0.5)": ([0.5] * 1600, _honest),
    "all hopeless (p = 0.02)": ([0.02] * 1600, _honest),
    "verifier uninformative": ([0.1, 0.3, 0.5, 0.7, 0.9] * 320, _blind),
    "verifier adversarial on 20 %": ([0.1, 0.3, 0.5, 0.7, 0.9] * 320, _hostile),
}
JUDGED = ("best_of_n:n=none,verifier=verifier", "best_of_n:n=none,verifier=verifier,selector=weighted_majority")


def misled(pools: Path | None = None) -> str:
    """Against `uniform` with the same strategy, the same tokens, the same draws."""
    rows, worst = [], 0.0
    for case, (rights, score) in CASES.items():
        pool = made_pool(rights, score, 1)
        ways = [(OPEN, SPENDING)] + [(spec, ("success", "bandit", "saturation")) for spec in JUDGED]
        for spec, how in ways:
            base = allocated(pool, ["uniform"], 1, 8 * float(pool.completion_tokens.mean()), spec=spec)["uniform"]
            found = allocated(pool, how, 1, base.tokens, spec=spec)
            for name, cell in found.items():
                d = difference(cell, base)
                worst = min(worst, d[0])
                rows.append((case, spec, name, f"{base.accuracy:.1f}", signed(d), f"{cell.tokens / base.tokens:.2f}"))
    return "\n\n".join(
        [
            "## Mis-specified cases: 1,600 made problems, 8 samples' tokens each",
            table(("case", "strategy", "allocator", "uniform", "difference", "tokens"), rows),
            verdict("worst difference", worst, -1.0),
        ]
    )


# --- limits and speed


def limits(pools: Path | None = None) -> str:
    """10,000 random runs: strategies, allocators, limits, orders of events, cancellations, failures."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "core" / "allocation"))
    from test_shared_budget import one_order

    began = time.perf_counter()
    for seed in range(10_000):
        one_order(seed)
    return (
        f"## Limits\n\n10,000 random orders of events: no limit was passed at any step, no budget that somebody wanted "
        f"was left, nothing was held at the end ({time.perf_counter() - began:.0f} s)."
    )


class _Tokens:
    """Costs that take no time to compute."""

    def upper_bound(self, action: Work) -> Cost:
        return Cost(1, 1000)

    def actual(self, action: Work, usage: Usage) -> Cost:
        return Cost(1, usage.completion_tokens)

    def context_tokens(self, request: Request) -> int | None:
        return None


def _decisions(problems: int, decisions: int) -> float:
    """Microseconds from one event to the next grant, with so many problems open, each asking for four."""
    shared = SharedBudget("c", marginal(floor=0.0, max_samples=1000), Limits(tokens=10**12), _Tokens())
    draw = random.Random(0)
    asked = [0] * problems

    def ask(i: int) -> None:
        asked[i] += 1
        shared.ask(Generate(f"c/{i}/{asked[i]}", Request(())))

    for i in range(problems):
        shared.open(f"c/{i}", str(i), {})
        for _ in range(4):
            ask(i)
    shared.wake(None)
    live = deque(cast(Generate, shared.grant()) for _ in range(64))
    ends = [
        (Completion("", usage=Usage(1, draw.randint(50, 150))), str(draw.choice((1, 1, 1, 2, 3)))) for _ in range(1000)
    ]
    began = time.perf_counter()
    for turn in range(decisions):
        action = live.popleft()
        completion, answer = ends[turn % 1000]
        shared.on_event(Finished(action.id, 0.0, completion), Candidate(action.id, "", answer, completion))
        ask(int(action.id.split("/")[1]))
        live.append(cast(Generate, shared.grant()))
        shared.records.clear()
    return (time.perf_counter() - began) / decisions * 1e6


def speed(pools: Path | None = None) -> str:
    """Of decisions, and of a replay with and without them; the best of five, taken in turn."""
    rows = [
        (
            f"{problems:,} open problems",
            f"{min(_decisions(problems, min(40_000, 30 * problems)) for _ in range(3)):.1f} us a decision",
        )
        for problems in (100, 1_000, 10_000)
    ]
    pool = made_pool([0.1, 0.3, 0.5, 0.7, 0.9] * 20, _honest, 1)
    took: dict[str, float] = {}
    for _ in range(5):
        for how in ("equal", "uniform", "marginal:floor=0"):
            began = time.perf_counter()
            # The run's budget makes the scheduler take part in all of them.
            done = replay(pool, OPEN, budgets="samples=32", run_budget="samples=1g", allocators=how, seeds=2)
            took[how] = min(took.get(how, 1e9), (time.perf_counter() - began) / done.replayed.samples)
    rows += [
        (f"replay, {how}", f"{1e6 * seconds:.0f} us a sample, {seconds / took['equal']:.2f} x equal shares")
        for how, seconds in took.items()
    ]
    return "\n\n".join(
        [
            "## Speed",
            table(("what", "takes"), rows),
            verdict(
                "replay with marginal over equal shares", took["marginal:floor=0"] / took["equal"], 1.1, above=False
            ),
        ]
    )


SECTIONS: dict[str, Callable[[Path], str]] = {
    "spend": spend,
    "math": math,
    "misled": misled,
    "limits": limits,
    "speed": speed,
}


def main() -> None:
    """Print the sections asked for; with all of them, write the file."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    given = sys.argv[1:]
    pools, chosen = (Path(given[0]), given[1:]) if given[0] not in SECTIONS else (Path(), given)
    parts = []
    for name in chosen or list(SECTIONS):
        began = time.perf_counter()
        parts.append(SECTIONS[name](pools))
        print(parts[-1], f"\n\n({time.perf_counter() - began:.0f} s)\n", flush=True)
    if not chosen:
        head = (
            "# Allocators\n\nWritten by `python benchmarks/methods/allocation.py POOLS`. Replays have "
            f"{FLEET.slots} requests in flight, unless they say otherwise.\n\n"
        )
        Path(__file__).with_suffix(".md").write_text(head + "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
