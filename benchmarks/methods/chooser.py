"""Does a history choose strategies better than always using the best one? On models that it has never seen.

    python benchmarks/methods/chooser.py POOLS        prints the tables and writes benchmarks/methods/chooser.md

POOLS is a folder of the pools' JSON Lines files. Six strategies are replayed at three budgets on AIME 2024 (11 models)
and GPQA Diamond (6 of them); what they gave is the history. A model is left out of it altogether, and so is the half of
the problems that it is then tested on.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.published.published import pool_of
from tts.api.replays import choose, replay
from tts.estimators import Grid
from tts.intervals import Interval, mean_difference, unbounded_mean
from tts.planning.chooser import Chooser, Past, Situation, by_rule, rules
from tts.pools.pool import Pool

SETS = {"aime2024": "boinf_aime2024", "gpqa": "boinf_gpqa_diamond"}
STRATEGIES = (
    "single",
    "majority_vote:n=4",
    "majority_vote:n=16",
    "majority_vote:n=16,stop_at=0.95",
    "first_finish:n=4,k=1",
    "first_finish:n=8,k=3",
)
BUDGETS = (65536, 131072, 262144)  # tokens a problem
MAX_TOKENS = 32768  # of a sample; what was recorded longer is cut there
SEEDS = {"aime2024": 10, "gpqa": 3}
PILOT = 4  # samples of each problem, for what can be measured without a reference answer
PARAMETERS = {  # from the models' names and cards
    "AM-Thinking-v1": 32e9, "Datarus-R1-14B-preview": 14e9, "EXAONE-Deep-32B": 32e9, "LIMO-v2": 32e9,
    "MetaStone-S1-32B": 32e9, "NVIDIA-Nemotron-Nano-9B-v2": 9e9, "Phi-4-reasoning": 14e9, "Qwen3-14B": 14e9,
    "Qwen3-30B-A3B-Thinking-2507": 30e9, "Qwen3-4B": 4e9, "gpt-oss-20b": 21e9,
}  # fmt: skip


class Case(NamedTuple):
    """One model on one task, with what was replayed: accuracy and tokens by (strategy, budget) and problem."""

    model: str
    task: str
    pool: Pool
    situation: Situation
    prompts: dict[str, str]
    given: dict[tuple[str, int], dict[str, tuple[float, float]]]

    def value(self, strategy: str, budget: int) -> dict[str, tuple[float, float]]:
        """Accuracy and tokens by problem, replayed now where nobody has asked before."""
        if (strategy, budget) not in self.given:
            self.given.update(replayed(self.pool, self.task, [strategy], [budget]))
        return self.given[strategy, budget]

    def described(self, problem: str, pilot: bool) -> Situation:
        known = self.situation
        tokens, agreement = (known.sample_tokens, known.agreement) if pilot else (None, None)
        return Situation(self.model, self.task, self.prompts.get(problem, ""), known.parameters, tokens, agreement)


def replayed(
    pool: Pool, task: str, strategies: Iterable[str], budgets: Iterable[int]
) -> dict[tuple[str, int], dict[str, tuple[float, float]]]:
    found = {}
    for strategy in strategies:
        for budget in budgets:
            by_problem: dict[str, list[tuple[float, float]]] = defaultdict(list)
            outcomes = replay(
                pool, strategy, budgets=f"tokens={budget}", seeds=SEEDS[task], max_tokens=MAX_TOKENS
            ).outcomes
            for o in outcomes:
                by_problem[o.problem_id].append((float(bool(o.correct)), float(o.tokens)))
            found[strategy, budget] = {p: tuple(np.mean(v, axis=0).tolist()) for p, v in by_problem.items()}
    return found


def cases(pools: Path) -> list[Case]:
    found = []
    for task, name in SETS.items():
        pool = pool_of(pools, name)
        prompts = {problem: text for (_, problem), text in pool.prompts.items()}
        for model in pool.model.present:
            one = choose(pool, None, model)
            given = replayed(one, task, STRATEGIES, BUDGETS)
            found.append(Case(model, task, one, piloted(one, model, task), prompts, given))
    return found


def piloted(pool: Pool, model: str, task: str) -> Situation:
    """What a pilot of every problem shows: lengths, and how often two samples agree."""
    grid = Grid.of(pool)
    lengths, classes = np.minimum(grid.lengths()[:, :PILOT], MAX_TOKENS), grid.classes[:, :PILOT]
    cut = grid.lengths()[:, :PILOT] > MAX_TOKENS
    classes = np.where(cut, -1, classes)
    first, second = np.triu_indices(PILOT, 1)
    agree = (classes[:, first] == classes[:, second]) & (classes[:, first] >= 0)
    return Situation(model, task, "", PARAMETERS[model], float(lengths.mean()), float(agree.mean()))


def half(problem: str) -> int:
    """Which half of the problems: by the number at the end of its id."""
    return int(problem.rpartition("-")[2]) % 2


def history(some: Iterable[Case], side: int, pilot: bool) -> list[Past]:
    """What these models did on one half of the problems."""
    return [
        Past(case.described(problem, pilot), strategy, budget, accuracy, max(1.0, tokens))
        for case in some
        for strategy in STRATEGIES
        for budget in BUDGETS
        for problem, (accuracy, tokens) in case.given[strategy, budget].items()
        if half(problem) == side
    ]


LEARNED = {  # name: with a pilot, and with the model's rows on the other problems
    "chooser": (False, False),
    "chooser with a pilot": (True, False),
    "chooser that knows the model": (True, True),
}


# A policy names a strategy for a case, a budget and the half of the problems that it is tested on.
Policy = Callable[[Case, int, int], str]


def learned(all_: list[Case], fitted: dict[str, Chooser], *, pilot: bool, known: bool, bold: bool = False) -> Policy:
    """Fitted to the other half of the problems, without the model in question unless `known`. `bold`: the best
    prediction, however little ahead it is."""

    def policy(case: Case, budget: int, side: int) -> str:
        key = f"{side}" if known else f"{case.model} {side}"
        if key not in fitted:
            others = [c for c in all_ if known or c.model != case.model]
            fitted[key] = Chooser.fit(history(others, 1 - side, pilot))
        chooser = replace(fitted[key], margin=0.0) if bold else fitted[key]
        choice = chooser.choose(case.described("", pilot), budget)
        assert not choice.cold
        return choice.strategy

    return policy


def mean_accuracy(some: Iterable[Case], strategy: str, budget: int, side: int | None) -> float:
    values = [
        np.mean([v[0] for p, v in case.given[strategy, budget].items() if side is None or half(p) == side])
        for case in some
    ]
    return float(np.mean(values))


def policies(all_: list[Case]) -> tuple[dict[str, Policy], dict[str, dict[str, Chooser]]]:
    table = rules()

    def fixed(case: Case, budget: int, side: int) -> str:
        others = [c for c in all_ if c.task == case.task and c.model != case.model]
        return max(STRATEGIES, key=lambda s: mean_accuracy(others, s, budget, 1 - side))

    def hindsight(case: Case, budget: int, side: int) -> str:
        same = [c for c in all_ if c.task == case.task]
        return max(STRATEGIES, key=lambda s: mean_accuracy(same, s, budget, None))

    def own(case: Case, budget: int, side: int) -> str:
        return max(STRATEGIES, key=lambda s: mean_accuracy([case], s, budget, 1 - side))

    def oracle(case: Case, budget: int, side: int) -> str:
        return max(STRATEGIES, key=lambda s: mean_accuracy([case], s, budget, side))

    def ruled(case: Case, budget: int, side: int) -> str:
        return by_rule(case.described("", pilot=True), budget, "a cold start", table).strategy

    fits: dict[str, dict[str, Chooser]] = {name: {} for name in LEARNED}
    found: dict[str, Policy] = {}
    for name, (pilot, known) in LEARNED.items():
        found[name] = learned(all_, fits[name], pilot=pilot, known=known)
        found[f"{name}, without a margin"] = learned(all_, fits[name], pilot=pilot, known=known, bold=True)
    found |= {
        RULES: ruled,
        "best fixed, by the history": fixed,
        "best fixed, in hindsight": hindsight,
        "the model's own best on the other half": own,
        "oracle": oracle,
    }
    return found, fits


class Scored(NamedTuple):
    """Accuracy and tokens of a policy by model and problem, over the budgets; and what it chose."""

    accuracy: dict[tuple[str, str], float]
    tokens: float
    chosen: dict[str, int]


def scored(all_: list[Case], task: str, policy: Policy) -> Scored:
    accuracy: dict[tuple[str, str], list[float]] = defaultdict(list)
    tokens, chosen = [], defaultdict(int)
    for case in all_:
        if case.task != task:
            continue
        for budget in BUDGETS:
            for side in (0, 1):
                strategy = policy(case, budget, side)
                chosen[strategy] += 1
                for problem, (right, spent) in case.value(strategy, budget).items():
                    if half(problem) == side:
                        accuracy[case.model, problem].append(right)
                        tokens.append(spent)
    return Scored({k: float(np.mean(v)) for k, v in accuracy.items()}, float(np.mean(tokens)), dict(chosen))


def over_units(gaps: dict[tuple[str, str], float], by: int) -> Interval:
    """The mean over models and problems; its interval over models (0), of which each has a mean over many problems, or
    over problems (1)."""
    units: dict[str, list[float]] = defaultdict(list)
    for key, gap in gaps.items():
        units[key[by]].append(gap)
    found = mean_difference(units) if by else unbounded_mean(units)
    assert found is not None
    return found


def interval(found: Interval) -> str:
    return f"[{100 * (found.low or 0):+.2f}, {100 * (found.high or 0):+.2f}]"


BASE, RULES = "best fixed, by the history", "rules of a cold start"


def task_table(all_: list[Case], task: str, results: dict[str, Scored]) -> str:
    models = sum(case.task == task for case in all_)
    problems = len({key[1] for key in results[BASE].accuracy})
    lines = [
        f"## {task}: {models} models, {problems} problems, {len(BUDGETS)} budgets\n",
        "| policy | accuracy, % | minus best fixed, points | interval over problems | over models | tokens, K |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    base = results[BASE].accuracy
    for name, result in results.items():
        gaps = {key: value - base[key] for key, value in result.accuracy.items()}
        both = [over_units(gaps, by) for by in (1, 0)]
        mean = 100 * np.mean(list(result.accuracy.values()))
        shown = ("–", "–", "–") if name == BASE else (f"{100 * both[0].mean:+.2f}", *map(interval, both))
        lines.append(f"| {name} | {mean:.1f} | {' | '.join(shown)} | {result.tokens / 1000:.0f} |")
    return "\n".join(lines)


def model_table(all_: list[Case], task: str, results: dict[str, Scored]) -> str:
    shown = ("chooser", "chooser with a pilot", RULES, BASE, "oracle")
    lines = [f"### {task}, model by model (percent)\n", "| left out | " + " | ".join(shown) + " |"]
    lines.append("|---|" + "---:|" * len(shown))
    for case in all_:
        if case.task == task:
            means = [
                np.mean([v for (model, _), v in results[name].accuracy.items() if model == case.model])
                for name in shown
            ]
            lines.append(f"| {case.model} | " + " | ".join(f"{100 * mean:.1f}" for mean in means) + " |")
    return "\n".join(lines)


def chosen_table(results: dict[str, dict[str, Scored]]) -> str:
    lines = ["## What was chosen\n", "| | | " + " | ".join(STRATEGIES) + " | other |"]
    lines.append("|---|---|" + "---:|" * (len(STRATEGIES) + 1))
    for task, by_policy in results.items():
        for name, result in by_policy.items():
            counts = [result.chosen.get(strategy, 0) for strategy in STRATEGIES]
            total = sum(result.chosen.values())
            cells = " | ".join(f"{100 * c / total:.0f} %" for c in [*counts, total - sum(counts)])
            lines.append(f"| {task} | {name} | {cells} |")
    return "\n".join(lines)


def verdict(results: dict[str, dict[str, Scored]]) -> str:
    """In words, whether it pays. To beat the best fixed strategy both intervals must lie above 0; to be worse, one
    below it is enough."""
    lines = []
    for task, by_policy in results.items():
        base = by_policy[BASE]
        for name in (*LEARNED, RULES):
            result = by_policy[name]
            gaps = {key: value - base.accuracy[key] for key, value in result.accuracy.items()}
            both = [over_units(gaps, by) for by in (0, 1)]
            beats, loses = all((i.low or 0) > 0 for i in both), any((i.high or 0) < 0 for i in both)
            word = "better" if beats else "worse" if loses else "cannot be told apart"
            lines.append(
                f"- {task}, {name} against the best fixed strategy: **{word}** ({100 * both[0].mean:+.2f} points), "
                f"with {100 * result.tokens / base.tokens:.0f} % of its tokens."
            )
    return "\n".join(lines)


def main() -> None:
    """Print the tables and write the file."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    all_ = cases(Path(sys.argv[1]))
    table, fits = policies(all_)
    results = {task: {name: scored(all_, task, policy) for name, policy in table.items()} for task in SETS}
    penalties = {name: sorted({f.penalties for f in by.values() if f.penalties}) for name, by in fits.items()}
    errors = [e for f in fits["chooser"].values() for e in f.errors]
    margins = [f.margin for f in fits["chooser"].values()]
    rows = [f.rows for f in fits["chooser"].values()]
    parts = [
        "# Choosing a strategy from history, for a model that it has not seen\n\nWritten by `python "
        "benchmarks/methods/chooser.py POOLS`.\n\n"
        f"History: {', '.join(f'`{s}`' for s in STRATEGIES)}, replayed at {', '.join(f'{b:,}' for b in BUDGETS)} "
        f"tokens a problem ({SEEDS['aime2024']} shuffles on AIME, {SEEDS['gpqa']} on GPQA); samples are cut at "
        f"{MAX_TOKENS:,} tokens. The model in question is left out of it, and so are the problems that the choice is "
        f"tested on ({min(rows):,} to {max(rows):,} rows remain). *With a pilot*: the mean length of a sample, and how "
        f"often two agree, from {PILOT} ungraded samples a problem, whose cost is not counted here. *That knows the "
        "model*: the model's rows on the other half of the problems are in the history. The best fixed strategy is "
        "the one with the best mean on the other models and problems at that budget; in hindsight: on the tested ones, "
        "too. The "
        "oracle takes each model's best on the tested problems, noise included. *Without a margin*: whatever is "
        "predicted best, however little it is ahead. Differences have two intervals (95 %): "
        "for other problems, and for other models. A chooser passes over what it predicts not to fit, while a replayed "
        "budget cuts it short: that costs a little accuracy where the largest vote nearly fits, and saves its tokens. "
        "The rules may ask for up to 64 samples, and stop early; the fixed strategies have 16 at most. That such votes "
        "keep their accuracy was first seen on these very recordings, so the rules are not put to a fresh test here.",
        "## In words\n\n" + verdict(results),
    ]
    for task in SETS:
        parts += [task_table(all_, task, results[task]), model_table(all_, task, results[task])]
    parts += [
        chosen_table(results),
        "## How it was fitted\n\nPenalties (accuracy, log tokens) by leaving one model of the history out: "
        + "; ".join(f"{name}: {', '.join(f'({a:g}, {b:g})' for a, b in found)}" for name, found in penalties.items())
        + f". A left-out model's mean accuracy is predicted to within {100 * np.mean(errors):.1f} points (root mean "
        f"square, mean over strategies) without a pilot, and the difference of two strategies to within "
        f"{100 * np.mean(margins):.1f}: the margin.",
    ]
    text = "\n\n".join(parts) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
