"""What it costs and gains to vote on the samples that arrive first; writes the tables of early_stopping.md.

    python benchmarks/methods/early_stopping.py POOLS

Replays of recorded generations: `majority_vote:stop_at=0.95` with more and more samples in flight, and `esc`. One
problem at a time on an engine with room for all, so that a problem's latency is its own. Then all problems together,
under an allocator that stops them at their first proven sample, with and without cancelling the others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tts.allocators.success import success
from tts.api.replays import choose, replay
from tts.clusters.virtual.fleet import Fleet
from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.pools.formats.imports import import_pool
from tts.pools.pool import Pool

SEEDS = {"boinf_aime2024": 8, "boinf_gpqa_diamond": 2}  # shuffles
MOST = 64
PAPER = "majority_vote:n={n},stop_at=0.95"
SPECS = {
    "one at a time would do (`min_in_flight=1`)": PAPER,
    **{f"`min_in_flight={k}`": f"{PAPER},min_in_flight={k}" for k in (4, 8, 16, 64)},
    "`esc`": "esc:n={n}",
    "`esc:min_in_flight=16`": "esc:n={n},min_in_flight=16",
    "all 64": "majority_vote:n={n}",
}
DRAWS = 2000
PROVEN = (  # pool, model, verifier
    ("boinf_aime2024", "Qwen3-4B", "verdict"),
    ("codet_humaneval_codegen16b", None, "verdict"),
    ("codet_humaneval_codegen16b", None, "score"),
    ("qwen25math_rm8", None, "score"),
)
IN_FLIGHT = (16, 64, 256)


class Way(NamedTuple):
    """One way to sample, on one model: by problem, the means over shuffles."""

    right: NDArray[np.float64]
    tokens: NDArray[np.float64]
    latency: NDArray[np.float64]


def way(pool: Pool, spec: str, seeds: int) -> Way:
    found: dict[str, list[tuple[float, float, float]]] = {}
    fleet = Fleet(slots=10 * MOST, in_flight=10 * MOST)
    for o in replay(pool, spec, seeds=seeds, fleet=fleet).outcomes:
        found.setdefault(o.problem_id, []).append((float(bool(o.correct)), o.tokens, o.latency_s))
    right, tokens, latency = np.array([np.mean(found[p], axis=0) for p in sorted(found)]).T
    return Way(right, tokens, latency)


def ways(pool: Pool, seeds: int) -> list[Way]:
    most = min(MOST, *(group.rows.stop - group.rows.start for group in pool.groups()))
    return [way(pool, spec.format(n=most), seeds) for spec in SPECS.values()]


def pools_of(folder: Path) -> Iterator[tuple[str, list[Pool]]]:
    """By file, one pool for each model."""
    for name in SEEDS:
        pool = import_pool([folder / f"{name}.jsonl.gz"], keep_text=False)
        yield name, [choose(pool, None, model) for model in pool.model.present]


def rows(models: Sequence[Sequence[Way]]) -> list[str]:
    """A line for each way, against the first: points of accuracy with their interval over problems, tokens, latency."""
    lines = []
    for place, name in enumerate(SPECS):
        lost = np.concatenate([found[place].right - found[0].right for found in models]) * 100
        draws = np.random.default_rng(0).choice(lost, (DRAWS, len(lost))).mean(axis=1)
        low, high = np.quantile(draws, [0.025, 0.975])
        accuracy = 100 * np.mean([found[place].right.mean() for found in models])
        tokens = np.mean([found[place].tokens.mean() / found[0].tokens.mean() for found in models])
        latency = np.mean([found[place].latency.mean() / found[0].latency.mean() for found in models])
        interval = f"{lost.mean():+.2f} [{low:+.2f}, {high:+.2f}]"
        lines.append(f"| {name} | {accuracy:.2f} | {interval} | {tokens:.2f} | {latency:.2f} |")
    return lines


def by_model(models: Sequence[Sequence[Way]], name: str) -> str:
    """The extremes of one way's difference."""
    place = [*SPECS].index(name)
    lost = [100 * float((found[place].right - found[0].right).mean()) for found in models]
    return f"Of the models, {name} is between {min(lost):+.2f} and {max(lost):+.2f} points from the first row."


def waiting() -> Allocator:
    """`success:trust=1` as it would be if it waited for what is in flight."""
    how = success(trust=1.0)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        found = how.bid(standing, outlook)
        return Bid(found.value, found.stop)

    return replace(how, bid=bid)


def proven(pools: Path, name: str, model: str | None, verifier: str) -> Iterator[str]:
    """Lines of one pool: all its problems together, with more and more requests in flight."""
    pool = choose(import_pool([pools / f"{name}.jsonl.gz"], keep_text=False), None, model)
    pool = replace(pool, scores={**pool.scores, "verdict": (pool.correct == 1).astype(np.float32)})
    for slots in IN_FLIGHT:
        line = [f"{name}, {verifier}", str(slots)]
        for how in (f"{__file__}:waiting", "success:trust=1"):
            spec, fleet = f"best_of_n:n=none,verifier={verifier}", Fleet(slots=slots)
            found = replay(pool, spec, allocators=[how], seeds=4, fleet=fleet).outcomes
            right, tokens, latency = np.mean([(bool(o.correct), o.tokens, o.latency_s) for o in found], axis=0)
            line += [f"{100 * right:.1f}", f"{tokens:,.0f}", f"{latency:,.1f}"]
        yield f"| {' | '.join(line)} |"


def proofs(pools: Path) -> str:
    """The section of what is solved by its first sample that passes."""
    head = "| pool, verifier | in flight | waits: accuracy | tokens | seconds | cancels: accuracy | tokens | seconds |"
    lines = [line for pool in PROVEN for line in proven(pools, *pool)]
    return "\n".join([PROOFS.strip(), "", head, "|---|---:|---:|---:|---:|---:|---:|---:|", *lines])


PROOFS = """## Allocators: what is in flight when a problem is solved

`success:trust=1` stops a problem at its first sample that passes and cancels the others; beside it the same rule, but
waiting for them. All problems together, 4 shuffles, no budget; tokens and seconds to the answer in the mean of a
problem. `verdict` is a verifier that is never wrong. `score` is wrong at times (it passes a sample from 0.5 on): there
the samples that are waited for happen to mend some of its errors, the more the larger the fleet. For such verifiers
there is the default, `trust=0.9`, which does not stop at a pass. Rules that go by votes ask for no sample that those in
flight could make needless: when they stop, nothing is in flight (`adaptive_consistency`, `esc`, `blend_asc`), or what
is in flight is still of use to the vote.
"""

ABOUT = """# Voting on the samples that arrive first

Written by `python benchmarks/methods/early_stopping.py POOLS`: replays of recorded samples, at most 64 of a problem,
decoded at one speed. Accuracy in percent; differences in points, with their 95 % interval over problems (those of two
models taken as independent, so it is rather narrow); tokens (cancelled ones included) and seconds to the answer as
multiples of the first row's, means over models.

With `min_in_flight=1` the vote is that of Adaptive-Consistency one sample at a time, to the token: it has those in
flight that the rule needs in any case. Above 1, votes count as they arrive, so short samples count first. In place of
arrivals the rule could look at the longest finished prefix in the order of asking, whose answer does not depend on
lengths at all: a sketch of this on AIME 2024 took 1.4 to 1.9 times the seconds and 1.4 times the tokens of arrivals at
16 and 64 ahead, for the accuracy of the first row. `esc` decides on that prefix, because its windows are defined by it.
"""


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    parts = [ABOUT.strip()]
    with ProcessPoolExecutor(2) as workers:
        for name, models in pools_of(Path(sys.argv[1])):
            found = [*workers.map(ways, models, [SEEDS[name]] * len(models))]
            head = "| samples in flight | accuracy | difference | tokens | seconds |\n|---|---:|---:|---:|---:|"
            title = f"## {name}: {len(models)} models, {SEEDS[name]} shuffles"
            extremes = [by_model(found, name) for name in ("`min_in_flight=16`", "`min_in_flight=64`")]
            parts.append("\n".join([title, "", head, *rows(found), "", *extremes]))
            print(parts[-1], flush=True)
    parts.append(proofs(Path(sys.argv[1])))
    Path(__file__).with_suffix(".md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
