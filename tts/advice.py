"""From a pool, or from earlier runs, to advice: which strategy for which difficulty, how to split between solving and
verifying, which race for a deadline, which strategy for a model and a task. Nothing is spent.

The methods are in `bins`, `solveverify`, `latency` and `chooser`; here is what they are told.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tts import bins, chooser, latency, solveverify
from tts.budget import Limits
from tts.errors import BadPool, InvalidParameter, PoolLacks
from tts.estimators import Grid
from tts.pool import Pool
from tts.replays import replay
from tts.report import Outcome

_ARM = re.compile(r"(majority_vote|best_of_n)/(\d+)")
POWERS = (1, 2, 4, 8, 16, 32, 64)


def by_difficulty(
    pool: Pool,
    arms: Sequence[str],
    budget: float,
    *,
    pilot: int = 4,
    number: int = 5,
    verifier: str | None = None,
    seed: int = 0,
) -> bins.Study:
    """A policy for `compute_optimal`, from recorded samples of one model on one benchmark.

    Args:
        arms: majority_vote/N, best_of_n/N (of `verifier`); a replay cannot revise.
        budget: generated tokens a problem, in the mean.
        pilot: samples whose agreement says how hard a problem is; they are the first of every arm's.
        number: of bins; seed: of the draws and of the folds.

    Raises: InvalidParameter, BudgetTooSmall, PoolLacks.
    """
    from tts.clusters.recorded import permutation

    accuracy: dict[str, dict[str, float]] = defaultdict(dict)
    cost: dict[str, dict[str, float]] = defaultdict(dict)
    for arm in arms:
        for o in replay(pool, _spec_of(arm, verifier), seeds=[seed]).outcomes:
            accuracy[o.problem_id][arm] = float(bool(o.correct))
            cost[o.problem_id][arm] = float(o.tokens)
    rows = []
    for group in pool.groups():
        if pilot > len(group):
            raise PoolLacks(f"a pilot of {pilot} samples needs as many: {group.problem_id} has {len(group)}")
        # As a replay draws them: from the end of the permutation.
        drawn = [group.start + i for i in permutation(seed, group.problem_id, len(group))[::-1][:pilot]]
        ease = bins.agreement([pool.answer[row] for row in drawn])
        tokens = float(sum(max(0, int(pool.completion_tokens[row])) for row in drawn))
        id = group.problem_id
        rows.append(bins.Row(id, ease, accuracy[id], cost[id], tokens))
    return bins.study(rows, budget, bins=number, reused=True, seed=seed)


def solving_or_verifying(pool: Pool, verifier: str, ratio: float, *, seeds: int = 4) -> solveverify.Analysis:
    """How to split a budget between solutions and verifications, measured on a pool whose score column `verifier` has
    several judgements of each sample.

    Args:
        ratio: tokens of a verification over tokens of a solution.
        seeds: shuffles of the samples.

    Raises: PoolLacks for a pool without such scores; InvalidParameter.
    """
    if verifier not in pool.scores:
        raise PoolLacks(f"{pool.name} has no scores of {verifier!r}; it has: {', '.join(pool.scores) or 'none'}")
    column = pool.scores[verifier]
    most = min(len(group) for group in pool.groups())
    judgements = column.shape[1] if column.ndim == 2 else 1
    grid: dict[tuple[int, int], float] = {}
    for solutions in (s for s in POWERS if s <= most):
        specs = [f"majority_vote:n={solutions}"]
        counts = [v for v in POWERS if v <= judgements]
        specs += [f"genrm:n={solutions},verifications={v},verifier={verifier}" for v in counts]
        for row, count in zip(replay(pool, specs, seeds=seeds).rows, [0, *counts], strict=True):
            if row.accuracy is None:
                raise BadPool(f"{pool.name} has no verdicts: nothing says which split is better", pool=pool.name)
            grid[solutions, count] = row.accuracy.mean
    return solveverify.analyse(grid, ratio)


def for_deadline(
    pool: Pool, seconds: float, *, slots: int, tokens_per_s: float, tokens: float | None = None, cancel_s: float = 0.0
) -> latency.Plan:
    """The race that is expected to be most accurate by a deadline.

    Args:
        seconds: until the answer must be there; slots: samples of a problem that run side by side.
        tokens_per_s: of one stream; tokens: that a problem may decode, None for any number.

    Raises: InvalidParameter, BudgetTooSmall.
    """
    grid = Grid.of(pool)
    at = latency.decoding_seconds(grid, tokens_per_s)
    most = float("inf") if tokens is None else tokens
    return latency.within(seconds, grid, at, slots=slots, tokens=most, cancel_s=cancel_s)


def from_history(folders: Iterable[str | Path], model: str, task: str, budget: float) -> chooser.Choice:
    """The strategy for a model and a task, from folders that `tts sweep` and `tts replay` have written.

    Args:
        budget: generated tokens a problem.

    Raises: InvalidParameter for a folder without outcomes. With too little history, published rules choose.
    """
    past: list[chooser.Past] = []
    for folder in map(Path, folders):
        past += _past(folder)
    return chooser.Chooser.fit(past).choose(chooser.Situation(model, task), budget)


def _past(folder: Path) -> list[chooser.Past]:
    """What its searches came to; where no budget in tokens was set, what the cell spent in the mean stands for it."""
    try:
        facts: dict[str, Any] = msgspec.json.decode((folder / "report.json").read_bytes())["facts"]
        lines = (folder / "outcomes.jsonl").read_bytes().splitlines()
    except OSError as error:
        raise InvalidParameter(
            f"{folder} has no {Path(error.filename or '').name}: it must be a folder that tts sweep or tts replay wrote"
        ) from None
    outcomes = [o for o in msgspec.json.Decoder(Outcome).decode_lines(b"\n".join(lines)) if o.correct is not None]
    spent: dict[str, list[int]] = defaultdict(list)
    for o in outcomes:
        spent[o.cell].append(o.tokens)
    situation = chooser.Situation(str(facts["model"]), str(facts["problems"]))
    return [
        chooser.Past(
            situation,
            o.strategy + (f":{o.params}" if o.params else ""),
            float((Limits.parse(o.budget).tokens if o.budget else None) or sum(spent[o.cell]) / len(spent[o.cell])),
            float(bool(o.correct)),
            float(max(1, o.tokens)),
        )
        for o in outcomes
    ]


def _spec_of(arm: str, verifier: str | None) -> str:
    match = _ARM.fullmatch(arm)
    if match is None:
        raise InvalidParameter(f"an arm must be majority_vote/N or best_of_n/N, but got {arm!r}", arm=arm)
    if match[1] == "best_of_n" and verifier is None:
        raise InvalidParameter(f"{arm} needs a verifier (--verifier): the name of one of the pool's scores", arm=arm)
    return f"{match[1]}:n={match[2]}" + (f",verifier={verifier}" if match[1] == "best_of_n" else "")
