"""What a race for the first k of n buys in seconds, and costs in accuracy, at equal tokens.

    python benchmarks/replay/latency.py POOLS        prints the tables and writes benchmarks/replay/latency.md

POOLS is a folder of the pools' JSON Lines files. Plans are made on the first half of each problem's samples and
measured on the other half: the best of a hundred plans looks better than it is on the samples that chose it.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.published.published import pool_of
from tts.analysis.latency import RacePlan, RecordedRace, best, decoding_seconds, frontier, races, timed
from tts.api.replays import choose
from tts.estimators import Curve, Grid, first_finishers, shorter_wins
from tts.intervals import Interval, paired_difference
from tts.pools.pool import Pool

SPEED = 50.0  # tokens a second of one stream; seconds scale with it, ratios and accuracies do not
SLOTS = 16
VOTES = (4, 8)  # the majorities that the races are compared with
CANCEL_S = 0.2
DRAWS = 400
SHOWN = "EXAONE-Deep-32B"  # whose frontier is printed


class Measured(NamedTuple):
    """What a race of n for k gave on samples that did not choose it."""

    n: int
    k: int
    curve: Curve
    seconds: float
    tokens: float
    in_time: float


class Pair(NamedTuple):
    """A majority, and a race in its place."""

    vote: Measured
    race: Measured

    @property
    def gap(self) -> Interval:
        """Accuracy of the race minus that of the majority."""
        race, vote = ({p: [v] for p, v in m.curve.at(m.n).items()} for m in (self.race, self.vote))
        found = paired_difference(race, vote)
        assert found is not None
        return found


def halves(pool: Pool) -> tuple[Grid, Grid]:
    """The first half of each problem's samples, and the second."""
    early = np.concatenate([2 * np.arange(len(group)) < len(group) for group in pool.groups()])
    return Grid.of(pool.select(where=early)), Grid.of(pool.select(where=~early))


def measured(grid: Grid, n: int, k: int, deadline_s: float = math.inf) -> Measured:
    """A race on these samples."""
    seconds, lengths = decoding_seconds(grid, SPEED), grid.lengths()
    curve = first_finishers(timed(grid, seconds, deadline_s), [n], k, draws=DRAWS)
    ends = [
        RecordedRace(seconds[p, :c], lengths[p, :c], grid.usable[p, :c], deadline_s=deadline_s, cancel_s=CANCEL_S).at(
            n, k
        )
        for p, c in enumerate(grid.counts)
    ]
    means = (float(np.mean([getattr(end, name) for end in ends])) for name in ("seconds", "tokens", "in_time"))
    return Measured(n, k, curve, *means)


def planned(grid: Grid, deadline_s: float = math.inf) -> list[RacePlan]:
    seconds = decoding_seconds(grid, SPEED)
    return races(grid, seconds, slots=SLOTS, deadline_s=deadline_s, cancel_s=CANCEL_S).plans


def row(label: str, pair: Pair) -> str:
    vote, race, gap = pair.vote, pair.race, pair.gap
    same = race._replace(curve=vote.curve) == vote
    bounds = f"[{100 * (gap.low or 0):+.1f}, {100 * (gap.high or 0):+.1f}]"
    apart = "it is the vote" if same else f"{100 * gap.mean:+.1f} {bounds}"
    return (
        f"| {label} | {100 * vote.curve.mean()[0]:.1f} | {vote.seconds:.0f} | {race.k} of {race.n} "
        f"| {100 * race.curve.mean()[0]:.1f} | {apart} | {race.seconds:.0f} | {race.seconds / vote.seconds:.2f} "
        f"| {race.tokens / vote.tokens:.2f} | {100 * race.in_time:.0f} |"
    )


HEAD = (
    "| model, w | majority, % | s | race | its % | difference | s | of the time | of the tokens | k in time, % |\n"
    "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|"
)


def mean_row(pairs: list[Pair]) -> str:
    gap = 100 * np.mean([pair.gap.mean for pair in pairs])
    time, tokens = (
        np.mean([getattr(pair.race, name) / getattr(pair.vote, name) for pair in pairs])
        for name in ("seconds", "tokens")
    )
    return f"| mean over models | | | | | {gap:+.1f} | | {time:.2f} | {tokens:.2f} | |"


def in_words(pairs: list[Pair]) -> str:
    quick = [pair for pair in pairs if pair.race.seconds <= 2 / 3 * pair.vote.seconds]
    surely = sum((pair.gap.high or 0) < 0 for pair in pairs)
    worst = -100 * min(pair.gap.mean for pair in pairs)
    return (
        f"\nOn {len(quick)} of {len(pairs)} models the race takes at most two thirds of the majority's time. On "
        f"{surely} the whole interval of the difference is below 0; the largest loss is {worst:.1f} points."
    )


def compared(pool: Pool) -> tuple[dict[str, str], dict[tuple[str, int], dict[str, Pair]]]:
    """w of every model; and by table and size of the majority, each model's pair."""
    labels: dict[str, str] = {}
    found: dict[tuple[str, int], dict[str, Pair]] = {(t, m): {} for m in VOTES for t in ("half", "as good")}
    for model in pool.model.present:
        early, late = halves(choose(pool, None, model))
        wins, pairs = shorter_wins(early)
        labels[model] = f"{model}, {wins.sum() / pairs.sum():.2f}"
        free = planned(early)
        for m in VOTES:
            (majority,) = (plan for plan in free if plan.n == plan.k == m)
            vote = measured(late, m, m)
            deadline = majority.seconds / 2
            hurried = best(planned(early, deadline), tokens=majority.tokens)
            found["half", m][model] = Pair(vote, measured(late, hurried.n, hurried.k, deadline))
            good = [p for p in free if p.accuracy >= majority.accuracy and p.tokens <= majority.tokens]
            fast = min(good, key=lambda plan: plan.seconds)
            found["as good", m][model] = Pair(vote, measured(late, fast.n, fast.k))
    return labels, found


def frontier_table(pool: Pool) -> str:
    lines = [
        f"## The frontier of {SHOWN}: accuracy, seconds, tokens\n",
        f"No deadline; all its samples; at most {SLOTS} at a time, for up to the tokens of 8 whole samples. Every "
        "third plan of it is shown.\n",
        "| race | % | seconds | thousands of tokens |\n|---|---:|---:|---:|",
    ]
    grid = Grid.of(choose(pool, None, SHOWN))
    most = 8 * float((np.where(grid.there, grid.lengths(), 0).sum(axis=1) / grid.counts).mean())
    kept = frontier([plan for plan in planned(grid) if plan.tokens <= most])
    lines += [
        f"| {p.k} of {p.n} | {100 * p.accuracy:.1f} | {p.seconds:.0f} | {p.tokens / 1000:.0f} |" for p in kept[::3]
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the tables and write the file."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    pool = pool_of(Path(sys.argv[1]), "boinf_aime2024")
    labels, found = compared(pool)
    parts = [
        "# Races against majorities, at equal tokens\n\nWritten by `python benchmarks/replay/latency.py POOLS`.\n\n"
        f"AIME 2024, 30 problems, {len(labels)} models. {SPEED:g} tokens a second a stream however many there are, "
        f"{CANCEL_S:g} s to cancel, at most {SLOTS} samples at a time. Planned on one half of each problem's samples, "
        "measured on the other. *w* is the chance that the shorter of a right and a wrong sample of one problem is the "
        "right one (planning half). Differences are in points, with their 95 % interval over problems; "
        "seconds and tokens are exact means; *k in time*: how often the vote had its k answers."
    ]
    for m in VOTES:
        for table, title, what in (
            ("half", f"Half the time of a majority of {m}", "The best plan whose deadline is half of that mean time"),
            ("as good", f"As good as a majority of {m}", "The fastest plan that was at least as accurate when planned"),
        ):
            pairs = found[table, m]
            lines = [f"## {title}\n", f"{what}, for no more tokens.\n", HEAD]
            lines += [row(labels[model], pair) for model, pair in pairs.items()]
            parts.append("\n".join([*lines, mean_row(list(pairs.values())), in_words(list(pairs.values()))]))
    parts.append(frontier_table(pool))
    text = "\n\n".join(parts) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
