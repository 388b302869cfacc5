"""What does a verifier cost that knows nothing, or the contrary of the truth? Every strategy that has one, simulated.

    python benchmarks/methods/blind_trust.py     prints the table, writes benchmarks/methods/blind_trust.md; fails where
    a strategy that does not say that it trusts blindly falls more than 1 point below the plain vote
    ... --quick                                  few problems, prints only

The model and the reward are those of `step_search.py`: solutions of steps, problems of five kinds in random order, a
verifier of known AUC that scores prefixes and whole solutions alike. Strategies have their default parameters, but for
`n` and their verifiers; several verifiers of one strategy err independently, with the same AUC. Of a pair, the solution
with the higher score wins. Strategies without a verifier by default are left out: they lose nothing. `no_thinking` and
the searches generate other samples than the vote, so that their intervals are wider.
"""

from __future__ import annotations

import inspect
import random
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec
from step_search import DEPTH, RIGHT, Reward, Steps

from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.intervals import Interval, mean_interval, paired_difference
from tts.models.cost_model import CostModel
from tts.plugins.names import built_in, strategy
from tts.plugins.signatures import parameters, says_verifier, says_verifiers
from tts.plugins.spec import parse_specs
from tts.types import Candidate, Problem, Sampling, Score

AUCS = (0.3, 0.5, 0.8)  # one that says the contrary, one that knows nothing, and a good one, for what a guard costs
N, PROBLEMS, FEW, SEED = 8, 300, 60, 5  # samples; problems of each kind, and fewer for those that trust blindly
ALLOWED = 1.0  # points below the plain vote
IN_FLIGHT = 64  # requests of the run: trust is earned while it goes on
STEPS_OF = {"best_first": N * (DEPTH + 1)}  # whose n counts steps, each of them an answer's last or one before it
VERIFIERS = ("one", "two", "three")
VOTE = f"majority_vote:n={N}"


class Judge(Reward):
    """The reward of `step_search.py` with errors of its own."""

    def __init__(self, auc: float, name: str) -> None:
        super().__init__(auc)
        self.name = name

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        seen = super().score(msgspec.structs.replace(problem, id=f"{self.name}/{problem.id}"), candidate)
        return msgspec.structs.replace(seen, verifier=self.name)


def specs() -> list[str]:
    """Every strategy that has a verifier by default, with these verifiers."""
    found = []
    for name in built_in("strategies"):
        known = parameters(strategy(name))
        one = [p.name for p in known if says_verifier(p) and p.default is not None]
        several = [p.name for p in known if says_verifiers(p)]
        if one or several:
            values = [f"n={STEPS_OF.get(name, N)}"] * any(p.name == "n" for p in known)
            values += [f"{key}={each}" for key, each in zip(one, VERIFIERS, strict=False)]
            values += [f"{key}={'+'.join(VERIFIERS)}" for key in several]
            found.append(f"{name}:{','.join(values)}")
    return found


def is_blind(text: str) -> bool:
    """Whether the docstring says that the strategy trusts its verifier blindly."""
    return "Blind trust" in (inspect.getdoc(strategy(text.partition(":")[0])) or "")


class Row(NamedTuple):
    """Whether one strategy was right on each problem, and its generated tokens a problem."""

    auc: float
    strategy: str
    right: Mapping[str, Sequence[float]]
    tokens: float


def run(auc: float, texts: Sequence[str], count: int) -> list[Row]:
    problems = [
        Problem(f"{kind}/{i}", f"Question of kind {kind}, number {i}.")
        for kind in range(len(RIGHT))
        for i in range(count)
    ]
    random.Random(SEED).shuffle(problems)
    plan = [
        Planned(str(place), problem, parse_specs(text)[0], seed=SEED)
        for place, text in enumerate(texts)
        for problem in problems
    ]
    verifiers = {name: Judge(auc, name) for name in VERIFIERS}
    sampling = Sampling(max_tokens=1_000)
    scheduler = Scheduler(plan, strategy, costs=CostModel(), verifiers=verifiers, sampling=sampling, window=IN_FLIGHT)
    right: dict[str, dict[str, Sequence[float]]] = defaultdict(dict)
    tokens: dict[str, float] = defaultdict(float)

    def decided(result: Result, _: object) -> None:
        assert result.error is None, result.error
        text = texts[int(result.id.split("/")[0])]
        right[text][result.problem_id] = [float(result.answer == "0")]
        tokens[text] += result.bill.total.tokens / len(problems)

    SimulatedCluster(Steps(), verifiers).run(scheduler, on_result=decided)
    return [Row(auc, text, right[text], tokens[text]) for text in texts]


def loss(row: Row, rows: Sequence[Row]) -> Interval:
    vote = next(other for other in rows if (other.auc, other.strategy) == (row.auc, VOTE))
    found = paired_difference(row.right, vote.right)
    assert found is not None
    return found


def fails(row: Row, rows: Sequence[Row]) -> bool:
    return row.auc <= 0.5 and not is_blind(row.strategy) and 100 * loss(row, rows).mean < -ALLOWED


def report(rows: Sequence[Row], count: int) -> str:
    whole = mean_interval(next(row.right for row in rows if row.strategy == VOTE))
    assert whole is not None
    lines = []
    for text in dict.fromkeys(row.strategy for row in rows if row.strategy != VOTE):
        own = [next(row for row in rows if (row.auc, row.strategy) == (auc, text)) for auc in AUCS]
        shown = []
        for row in own:
            found = loss(row, rows)
            mark = "**" if fails(row, rows) else ""
            interval = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
            shown.append(f"{mark}{100 * found.mean:+.1f}{mark} {interval}")
        kind = "blind" if is_blind(text) else "earned"
        lines.append(f"| `{text}` | {kind} | {' | '.join(shown)} | {own[1].tokens:.0f} |")
    failed = [f"`{row.strategy}` at an AUC of {row.auc}" for row in rows if fails(row, rows)]
    claim = f"**Not so:** {'; '.join(failed)}." if failed else "It holds for all of them."
    return f"""# What does blind trust in a verifier cost?

Written by `python benchmarks/methods/blind_trust.py`: {count} simulated problems of each of five kinds, {N} samples;
{min(count, FEW)} of each kind for strategies that trust blindly. The plain vote `{VOTE}` is right on
{100 * whole.mean:.1f} %. Accuracy in points above it, with 95 % intervals, paired over problems, by the AUC of the
verifier: 0.3 says the contrary of the truth, 0.5 knows nothing. Trust is `blind` where the docstring says so, which is
for whoever has measured the verifier; `earned` is `tts/toolkit/rankings/trust.py`, or as `weaver`'s. Verifications cost
nothing here.

| strategy | trust | AUC 0.3 | AUC 0.5 | AUC 0.8 | tokens |
|---|---|---:|---:|---:|---:|
{chr(10).join(lines)}

Claim: with a verifier that knows nothing, or the contrary, no strategy whose trust is to be earned falls more than
{ALLOWED:g} point below the plain vote. {claim}
"""


def main() -> None:
    count = 10 if "--quick" in sys.argv[1:] else PROBLEMS
    earned = [VOTE, *(text for text in specs() if not is_blind(text))]
    blind = [text for text in specs() if is_blind(text)]
    jobs = [(auc, some, most) for auc in AUCS for some, most in ((earned, count), (blind, min(count, FEW)))]
    with ProcessPoolExecutor(len(jobs)) as processes:
        rows = [row for found in processes.map(run, *zip(*jobs, strict=True)) for row in found]
    text = report(rows, count)
    print(text)
    if "--quick" in sys.argv[1:]:
        return
    Path(__file__).with_suffix(".md").write_text(text)
    if any(fails(row, rows) for row in rows):
        sys.exit("a strategy whose trust is to be earned falls below the plain vote")


if __name__ == "__main__":
    main()
