"""Thinking, sampling or searching? On a shallow problem (CountDown) and a deep one (Sudoku), at equal tokens.

    python -m benchmarks.methods.deep_and_shallow [--problems 200] [--base-url URL ...]
        prints the table, writes benchmarks/methods/deep_and_shallow.md; fails if the order does not hold. In process it
        takes an hour, with servers of `benchmarks.tiny_model.serve` on one GPU minutes

Qin et al. (2025), "To Backtrack or Not to Backtrack", arXiv:2504.07052: at equal compute, parallel sampling of direct
solutions beats one long trace that searches by itself on CountDown, whose trees are shallow, and loses to it on Sudoku,
whose trees are deep. Here the package's model thinks (a system turn asks for it), is sampled directly (majority vote;
best-of-N by an exact check of CountDown's answers, by the model's own verification of Sudokus), or its attempts are
searched (`ab_mcts` with the same check, which revises an attempt or begins anew). Tokens are all that were generated,
verification included; a row is compared with thinking at the tokens of one thought, by interpolation between its
budgets, paired over problems.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.tiny_model.runs import Asked, Cells, add_servers, points, right, swept, tokens
from tts.intervals import Interval, mean_interval, paired_difference

SEED = 2504
THINKING = "Think before you answer."
FILE = Path(__file__).with_suffix(".md")


class Kind(NamedTuple):
    """A kind of problem: its source, the check of its answers, and whether sampling is to beat thinking."""

    name: str
    source: str
    check: str
    parallel_wins: bool


KINDS = (
    Kind(
        "CountDown", "reasoning-gym:countdown?size={size}&seed={seed}&min_numbers=3&max_numbers=5", "constraint", True
    ),
    Kind("Sudoku", "reasoning-gym:mini_sudoku?size={size}&seed={seed}", "genrm", False),
)
DIRECT = ("majority_vote:n=1,2,3,4,6,8", "best_of_n:verifier={check},n=1,2,4,6,8")
SEARCH = ("ab_mcts:verifier={check},n=1,2,4,6,8", "sequential_revision:chains=1,rounds=1,2,3,4")
THOUGHT = ("single", "majority_vote:n=2,4")


def at(cells: Cells, name: str, wanted: float) -> Mapping[str, list[float]]:
    """Accuracy by problem of a strategy at `wanted` tokens, between the two of its budgets around it; of the nearest
    one, where it has none on either side."""
    ordered = sorted((found for cell, found in cells.items() if cell.startswith(f"{name}:")), key=tokens)
    below = [one for one in ordered if tokens(one) <= wanted] or ordered[:1]
    above = [one for one in ordered if tokens(one) > wanted] or ordered[-1:]
    low, high = below[-1], above[0]
    share = (wanted - tokens(low)) / (tokens(high) - tokens(low)) if tokens(high) > tokens(low) else 0.0
    share = min(1.0, max(0.0, share))
    first, second = right(low), right(high)
    return {p: [(1 - share) * first[p][0] + share * second[p][0]] for p in first if p in second}


def rows(kind: Kind, direct: Cells, thought: Cells) -> tuple[list[str], dict[str, Interval | None]]:
    """The table's lines of one kind of problem; and by strategy, its lead over one thought at equal tokens."""
    one = next(found for name, found in thought.items() if name.startswith("single"))
    lines = []
    for how, cells in (("direct", direct), ("thinking", thought)):
        for name, outcomes in sorted(cells.items(), key=lambda cell: (cell[0].partition(":")[0], tokens(cell[1]))):
            lines.append(
                f"| {kind.name} | {how} | `{name.removesuffix(':')}` | {tokens(outcomes):.0f} "
                f"| {points(mean_interval(right(outcomes)))} |"
            )
    names = dict.fromkeys(name.partition(":")[0] for name in direct)
    return lines, {name: paired_difference(at(direct, name, tokens(one)), right(one)) for name in names}


def claims(kind: Kind, leads: Mapping[str, Interval | None]) -> list[tuple[str, Interval | None, bool]]:
    """What is said of a kind, the measured lead, and whether it holds: the whole interval is on the claimed side."""
    sampling = "best_of_n" if kind.parallel_wins else "majority_vote"
    found = leads[sampling]
    side = "ahead of" if kind.parallel_wins else "behind"
    holds = found is not None and (found.low > 0 if kind.parallel_wins else found.high < 0)
    return [(f"{kind.name}: parallel sampling (`{sampling}`) is {side} one thought", found, holds)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200, help="number of problems of each kind")
    add_servers(parser)
    given = parser.parse_args()
    asked: list[Asked] = []
    for kind in KINDS:
        source = kind.source.format(size=given.problems, seed=SEED)
        for strategies, options in (
            (DIRECT, {}), (SEARCH[:1], {}), (SEARCH[1:], {}), (THOUGHT, {"system": THINKING}),
        ):  # fmt: skip
            named = tuple(one.format(check=kind.check) for one in strategies)
            asked.append(Asked(source, named, {"sampling": {"max_tokens": 450}, **options}))
    found = swept(asked, given.base_url)
    lines: list[str] = []
    said: list[tuple[str, Interval | None, bool]] = []
    leads: list[str] = []
    for place, kind in enumerate(KINDS):
        sampled, searched, revised, thought = found[4 * place : 4 * place + 4]
        told, by = rows(kind, {**sampled, **searched, **revised}, thought)
        lines += told
        leads += [f"| {kind.name} | `{name}` | {points(interval, '+')} |" for name, interval in by.items()]
        said += claims(kind, by)
    text = report(given.problems, lines, leads, said)
    print(text)
    FILE.write_text(text)
    return 0 if all(holds for _, _, holds in said) else 1


def report(
    count: int, lines: Sequence[str], leads: Sequence[str], said: Sequence[tuple[str, Interval | None, bool]]
) -> str:
    claimed = [f"| {name} | {points(by, '+')} | {'yes' if holds else '**no**'} |" for name, by, holds in said]
    return f"""# Thinking, sampling or searching, on a shallow problem and a deep one

Written by `python -m benchmarks.methods.deep_and_shallow --problems {count}`: {count} problems of each kind, by the
package's model. Tokens are generated ones a problem, verification included. Accuracy in points, with 95 % intervals
over problems.

| problems | replies | strategy | tokens | accuracy |
|---|---|---|---:|---:|
{chr(10).join(lines)}

Direct replies at the tokens of one thought (between two budgets of a strategy, by interpolation), less one thought:

| problems | strategy | by points |
|---|---|---:|
{chr(10).join(leads)}

| claim of Qin et al. (2025) | measured, points | holds |
|---|---:|---|
{chr(10).join(claimed)}
"""


if __name__ == "__main__":
    sys.exit(main())
