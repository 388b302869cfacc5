"""When does searching over steps pay? Search and sampling under process rewards of known quality, simulated.

    python benchmarks/methods/step_search.py     prints the table, writes benchmarks/methods/step_search.md; fails if a
    claim does not hold
    ... --quick                                  few problems, prints only

The model writes solutions of `DEPTH` steps and an answer. A step is right with a probability that is the problem's, and
nothing mends a wrong one. Problems are of five kinds, as the quintiles of Snell et al. (2024), arXiv:2408.03314. The
process reward sees a prefix with a normal error, most of which the next step inherits, because what misleads a judge of
one step misleads it after the next, too. Its AUC is known: that of 0.5 knows nothing, that of 1.0 all. Every method
generates as many steps, so that rows are at equal generated tokens; a reward costs nothing here. The strategies are
those of the library, through the real scheduler.
"""

from __future__ import annotations

import math
import random
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist, fmean
from typing import NamedTuple

from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import Request
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.intervals import Interval, mean_interval, paired_difference
from tts.models.cost_model import CostModel
from tts.plugins.names import strategy
from tts.plugins.spec import parse_specs
from tts.types import Candidate, Completion, Problem, Sampling, Score, Usage

DEPTH = 6  # steps before the answer
STEP_TOKENS = 20
RIGHT = (0.85, 0.55, 0.30, 0.12, 0.03)  # pass@1 by kind, easiest first
WRONG = (0.5, 0.3, 0.2)  # of the wrong answers, which compete with the right one
AUCS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
INHERITED = 0.8  # of the variance of the reward's error at a prefix
PROBLEMS = 120  # of each kind
SAMPLING = ("majority_vote:n=16", "best_of_n:n=16,selector=weighted_majority", "best_of_n:n=16")
SEARCH = ("beam_search:n=16,m=4", "dvts:n=16,m=4", "rebase:n=16")
WEAK = 0.6  # the AUC that the claims about kinds are made of
ALL = range(len(RIGHT))
SEED = 5


class Steps:
    """A model that goes on step by step; every draw is a function of the request's seed and of the text so far."""

    def complete(self, request: Request) -> tuple[float, Completion]:
        problem = request.messages[-1].content
        chance = RIGHT[kind_of(problem)] ** (1 / DEPTH)
        draw = random.Random(f"{request.seed}/{problem}/{request.continue_from}")
        so_far = [line for line in (request.continue_from or "").split("\n") if line]
        lines = list[str]()
        while len(so_far) + len(lines) < DEPTH:
            lines.append(f"{'right' if draw.random() < chance else 'wrong'} {draw.randrange(10**6)}")
            if request.sampling.stop:
                return self._said(request, lines, "\n")
        answer = 1 + draw.choices(range(len(WRONG)), WRONG)[0]
        if not any(line.startswith("wrong") for line in (*so_far, *lines)):
            answer = 0
        return self._said(request, [*lines, f"Answer: {answer}"], None)

    def _said(self, request: Request, lines: Sequence[str], stop: str | None) -> tuple[float, Completion]:
        tokens = STEP_TOKENS * len(lines)
        usage = Usage(prompt_tokens=10, completion_tokens=tokens)
        text = "\n".join(lines)
        return float(tokens), Completion(text, finish_reason="stop", stopped_by=stop, usage=usage, seed=request.seed)


class Reward:
    """A process reward of known AUC: the probability, to it, that a prefix is right."""

    kind = "probability"
    candidate_logprobs = 0
    in_worker = False

    def __init__(self, auc: float) -> None:
        # Right and wrong prefixes are normal with this difference of means: AUC = Phi(difference / sqrt 2).
        self._difference = math.sqrt(2) * NormalDist().inv_cdf(auc) if auc < 1 else math.inf

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        right = "wrong" not in candidate.text
        if math.isinf(self._difference):
            return Score(0.99 if right else 0.01, "prm", "probability")
        error, text, steps = 0.0, "", candidate.text.split("\n")
        for number, step in enumerate(steps):
            text += f"/{step}"
            kept = INHERITED if number else 0.0
            error = math.sqrt(kept) * error + math.sqrt(1 - kept) * random.Random(f"{problem.id}{text}").gauss(0, 1)
        seen = (0.5 if right else -0.5) * self._difference + error
        return Score(1 / (1 + math.exp(-max(1.0, self._difference) * seen)), "prm", "probability")


def kind_of(prompt: str) -> int:
    return int(prompt[len("Question of kind ")])


Right = Mapping[str, Mapping[str, Sequence[float]]]  # strategy -> problem -> 1 or 0


def run(auc: float, specs: Sequence[str], count: int) -> tuple[Right, Mapping[str, float]]:
    """Whether each strategy is right on each problem, and its generated tokens a problem in the mean."""
    problems = [
        Problem(f"{kind}/{i}", f"Question of kind {kind}, number {i}.")
        for kind in range(len(RIGHT))
        for i in range(count)
    ]
    parsed = {text: parse_specs(text if text.startswith("majority") else f"{text},verifier=prm")[0] for text in specs}
    plan = [
        Planned(str(list(specs).index(text)), problem, spec, seed=SEED)
        for problem in problems
        for text, spec in parsed.items()
    ]
    verifiers = {"prm": Reward(auc)}
    scheduler = Scheduler(
        plan, strategy, costs=CostModel(), verifiers=verifiers, sampling=Sampling(max_tokens=1_000), window=4096
    )
    right: dict[str, dict[str, list[float]]] = defaultdict(dict)
    tokens: dict[str, float] = defaultdict(float)

    def decided(result: Result, _: object) -> None:
        text = specs[int(result.id.split("/")[0])]
        right[text][result.problem_id] = [float(result.answer == "0")]
        tokens[text] += result.bill.total.tokens / len(problems)

    SimulatedCluster(Steps(), verifiers).run(scheduler, on_result=decided)
    return right, tokens


# --- the table and its claims


class Row(NamedTuple):
    """Whether one strategy was right on each problem, under a reward of that AUC."""

    auc: float
    strategy: str
    right: Mapping[str, Sequence[float]]
    tokens: float

    def of(self, kinds: Sequence[int]) -> dict[str, Sequence[float]]:
        return {problem: value for problem, value in self.right.items() if int(problem[0]) in kinds}


def rows_of(count: int) -> list[Row]:
    rows = []
    for auc in AUCS:
        right, tokens = run(auc, [*SAMPLING, *SEARCH], count)
        rows += [Row(auc, text, right[text], tokens[text]) for text in (*SAMPLING, *SEARCH)]
    return rows


def difference(rows: Sequence[Row], auc: float, first: str, second: str, kinds: Sequence[int] = ALL) -> Interval:
    one, other = (next(row for row in rows if (row.auc, row.strategy) == (auc, text)) for text in (first, second))
    found = paired_difference(one.of(kinds), other.of(kinds))
    assert found is not None
    return found


def claims(rows: Sequence[Row]) -> list[tuple[str, Interval, bool]]:
    """Each claim, the difference that it is about, and whether it holds."""
    beam, weighted, vote = SEARCH[0], SAMPLING[1], SAMPLING[0]
    easy = difference(rows, WEAK, beam, weighted, (0, 1))
    middle = difference(rows, WEAK, beam, weighted, (2, 3))
    found = [
        (f"AUC {WEAK}: beam search helps in the middle (kinds 3, 4), over weighted best-of-N", middle, middle.low > 0),
        (f"AUC {WEAK}: beam search hurts where problems are easy (kinds 1, 2)", easy, easy.high < 0),
    ]
    for text in SEARCH:
        blind = difference(rows, 0.5, text, vote)
        found.append((f"AUC 0.5: `{text}` does not beat the vote", blind, blind.low <= 0))
    return found


def shown(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def report(rows: Sequence[Row], found: Sequence[tuple[str, Interval, bool]], count: int) -> str:
    lines = []
    for row in rows:
        whole = mean_interval(row.right)
        assert whole is not None
        accuracy = f"{100 * whole.mean:.1f} ± {50 * (whole.high - whole.low):.1f}"
        figures = " | ".join(f"{100 * fmean(value for (value,) in row.of([kind]).values()):.0f}" for kind in ALL)
        lines.append(f"| {row.auc} | `{row.strategy}` | {figures} | {accuracy} | {row.tokens:.0f} |")
    held = [f"| {text} | {shown(interval)} | {'yes' if holds else '**no**'} |" for text, interval, holds in found]
    return f"""# When does searching over steps pay?

Written by `python benchmarks/methods/step_search.py`: {count} simulated problems of each of five kinds, whose first
attempts are right with {", ".join(map(str, RIGHT))}; {DEPTH} steps of {STEP_TOKENS} tokens and an answer, nothing mends
a wrong step. The reward of a prefix has the AUC named, and {100 * INHERITED:.0f} % of the variance of its error is
inherited from the prefix before. Accuracy in points by kind, easiest first, and over all (95 % intervals over
problems). All rows of tokens are equal; a reward costs nothing here, and search asks for more of them.

| AUC | strategy | kind 1 | 2 | 3 | 4 | 5 | all | tokens |
|---:|---|---:|---:|---:|---:|---:|---:|---:|
{chr(10).join(lines)}

| claim | difference in points, paired over problems | holds |
|---|---:|---|
{chr(10).join(held)}
"""


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    count = 10 if quick else PROBLEMS
    rows = rows_of(count)
    found = claims(rows)
    text = report(rows, found, count)
    print(text)
    if quick:
        return
    Path(__file__).with_suffix(".md").write_text(text)
    if not all(holds for _, _, holds in found):
        sys.exit("a claim does not hold")


if __name__ == "__main__":
    main()
