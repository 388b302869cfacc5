"""Does choosing a strategy by difficulty pay, its pilot included? On simulated questions, through the real scheduler.

    python benchmarks/methods/bins.py            prints the tables and writes benchmarks/methods/bins.md; fails if a
    claim does not hold

The questions are of five kinds. `RIGHT` is how often a first attempt at one is right; a revision mends a wrong attempt
with the probability MENDS and breaks a right one with BREAKS. The curves are made to cross, as those of trial and
best-of-N do in Snell et al. (2024), arXiv:2408.03314 (38 % broken is what they measured). So what is tested is not that
they cross, but whether the pilot, the bins and the cross-validation find it out, without being told the kinds. The
claims are made of the answers' agreement; the verifier's mean score is there to be compared with it.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import Request
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.intervals import Interval, paired_difference
from tts.models.cost_model import CostModel
from tts.plugins.names import strategy
from tts.toolkit.difficulty import Measured, Policy, PolicyStudy, agreement, mean_score, study_policy
from tts.types import Candidate, Completion, Problem, Sampling, Score, StrategySpec, Usage

RIGHT = (0.90, 0.65, 0.40, 0.15, 0.05)  # by kind, easiest first
MENDS = (0.30, 0.25, 0.25, 0.20, 0.12)
BREAKS = (0.38, 0.38, 0.38, 0.15, 0.10)
WRONG = 12  # wrong answers to a question
NOISE = 1.0  # of the verifier: a right attempt is worth 1 to it, a wrong one 0, and a normal error of this spread
PROBLEMS = 2000  # as many of each kind
FRESH = 2000  # others, by which the best arm of a bin is known
PILOT = 4
BUDGET = 16  # samples a question
LARGE = "best_of_n/64"
ARMS = ("majority_vote/16", "best_of_n/4", "best_of_n/16", "sequential_revision/2x8")
FIRST = 20_000  # number of the first question: the figures above were set by looking at others
SEED = 11  # of samples
FOLDS = 20  # seeds by which problems are put into folds; the tables are of the first
CLOSE = 0.01  # an arm that is not the best, but so near to it, is no mistake
COMMON = {"pilot": PILOT, "verifier": "noisy", "selector": "best_score"}
ATTEMPT = re.compile(r"^Attempt \d+:\nAnswer: (\d+)$", re.MULTILINE)
QUESTION = re.compile(r"^Question (\d+), of kind (\d)\.")


def right_answer(question: int) -> int:
    """The wrong ones follow it."""
    return 1000 * (question + 1)


class CrossingWorld:
    """A model that answers or revises, one token a completion; every draw is a function of seed and prompt."""

    def complete(self, request: Request) -> tuple[float, Completion]:
        prompt = request.messages[-1].content
        found = QUESTION.match(prompt)
        assert found is not None
        question, kind = int(found[1]), int(found[2])
        draw = random.Random(f"{request.seed}/{prompt}")
        attempts = ATTEMPT.findall(prompt)
        chance = RIGHT[kind]
        if attempts:
            chance = 1 - BREAKS[kind] if int(attempts[-1]) == right_answer(question) else MENDS[kind]
        answer = right_answer(question)
        if draw.random() >= chance:
            answer += draw.randint(1, WRONG)
        completion = Completion(f"Answer: {answer}", usage=Usage(len(prompt) // 4, 1), seed=request.seed)
        return 1.0, completion


class NoisyVerifier:
    """What a reward model is to this world: it knows the truth, but not well. It costs nothing here."""

    kind = "logit"
    candidate_logprobs = 0
    in_worker = False

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        error = random.Random(f"noise/{problem.id}/{candidate.completion.seed}/{candidate.answer}").gauss(0, NOISE)
        return Score(float(is_right(problem, candidate.answer)) + error, "noisy", "logit")


def is_right(problem: Problem, answer: str | None) -> bool:
    return answer == str(right_answer(int(problem.id)))


def questions(first: int, count: int) -> list[Problem]:
    return [
        Problem(str(i), f"Question {i}, of kind {i % 5}. End with `Answer: `.") for i in range(first, first + count)
    ]


def run(
    policies: Mapping[str, str], problems: Sequence[Problem], difficulty: str = "agreement"
) -> dict[tuple[str, str], Result]:
    """Policies of the strategy `compute_optimal`, by name, on all problems: (name, problem) -> what came of it."""
    plan = [
        Planned(
            name,
            problem,
            StrategySpec("compute_optimal", {"policy": policy, "difficulty": difficulty, **COMMON}),
            seed=SEED,
        )
        for problem in problems
        for name, policy in policies.items()
    ]
    verifiers = {"noisy": NoisyVerifier()}
    scheduler = Scheduler(
        plan, strategy, costs=CostModel(), verifiers=verifiers, sampling=Sampling(max_tokens=1), window=4096
    )
    found: dict[tuple[str, str], Result] = {}

    def decided(result: Result, _: object) -> None:
        found[result.id.rpartition("/")[0], result.problem_id] = result

    SimulatedCluster(CrossingWorld(), verifiers).run(scheduler, on_result=decided)
    return found


# --- from runs to rows


def named(arms: Sequence[str]) -> dict[str, str]:
    """A slash would be part of an action's id."""
    return {arm.replace("/", "|"): arm for arm in arms}


def rows_of(problems: Sequence[Problem], results: Mapping[tuple[str, str], Result], signal: str) -> list[Measured]:
    """Every arm began with the same pilot (its seeds are the same), so any of them tells of it."""
    rows = []
    for problem in problems:
        mine = {arm: results[name, problem.id] for name, arm in named(ARMS).items()}
        one = mine["best_of_n/16"]
        pilot = sorted(one.candidates, key=lambda candidate: candidate.order)[:PILOT]
        if signal == "agreement":
            ease: float | None = agreement([candidate.answer for candidate in pilot])
        else:
            ease = mean_score([one.scores[candidate.id][0].value for candidate in pilot])
        accuracy = {arm: float(is_right(problem, result.answer)) for arm, result in mine.items()}
        cost = {arm: float(result.bill.total.samples) for arm, result in mine.items()}
        rows.append(Measured(problem.id, ease, accuracy, cost, float(PILOT)))
    return rows


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def in_bin(rows: Sequence[Measured], policy: Policy, number: int) -> list[Measured]:
    return [row for row in rows if policy.bin_of(row.ease) == number]


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def points(interval: Interval | None) -> str:
    assert interval is not None and interval.low is not None and interval.high is not None
    return f"{100 * interval.mean:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


# --- the report


class Report:
    """Lines of the page, and the claims that did not hold."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.missed: list[str] = []

    def say(self, *lines: str) -> None:
        self.lines += lines

    def claim(self, holds: bool, text: str, claimed: bool = True) -> None:
        self.say(f"- {'yes' if holds else '**MISSED**' if claimed else 'no'}: {text}")
        if claimed and not holds:
            self.missed.append(text)


def by_kind(report: Report, problems: Sequence[Problem], results: Mapping[tuple[str, str], Result]) -> None:
    report.say(
        "## The arms, by the true kind of question",
        "",
        f"Percent right on {len(problems)} questions; the last column is samples a question. Nothing below is told the "
        "kind.",
        "",
        "| arm | " + " | ".join(f"kind {kind} (p = {p})" for kind, p in enumerate(RIGHT)) + " | all | samples |",
        "|---|" + "---:|" * (len(RIGHT) + 2),
    )
    for name, arm in named([*ARMS, LARGE]).items():
        right = {p.id: float(is_right(p, results[name, p.id].answer)) for p in problems}
        cells = [mean([right[p.id] for p in problems if int(p.id) % 5 == kind]) for kind in range(5)]
        samples = mean([results[name, p.id].bill.total.samples for p in problems])
        report.say(f"| {arm} | " + " | ".join(map(percent, [*cells, mean(list(right.values()))])) + f" | {samples:g} |")
    report.say("")


def by_bin(report: Report, found: PolicyStudy, rows: Sequence[Measured], fresh: Sequence[Measured]) -> tuple[int, int]:
    """The table of the bins. Returns how many of the folds' choices were right, and of how many."""
    report.say(
        "| bin, up to | questions | of kinds 0-4 | chosen on fold 0, fold 1 | judged on the other fold | "
        + " | ".join(f"{arm}, others" for arm in ARMS)
        + " |",
        "|---|---:|---|---|---:|" + "---:|" * len(ARMS),
    )
    good = 0
    for number, one in enumerate(found.bins):
        others = in_bin(fresh, found.policy, number)
        truth = {arm: mean([row.accuracy[arm] for row in others]) for arm in ARMS}
        good += sum(truth[arm] >= max(truth.values()) - CLOSE for arm in one.chosen)
        kinds = Counter(int(row.problem) % 5 for row in in_bin(rows, found.policy, number))
        edge = f"{found.policy.edges[number]:.2f}" if number < len(found.policy.edges) else "(rest)"
        report.say(
            f"| {edge} | {one.problems} | {', '.join(str(kinds[kind]) for kind in range(5))} | "
            f"{', '.join(dict.fromkeys(one.chosen))} | {percent(one.accuracy)} | "
            + " | ".join(f"**{percent(v)}**" if v == max(truth.values()) else percent(v) for v in truth.values())
            + " |"
        )
    return good, 2 * len(found.bins)


def signal_section(
    report: Report,
    signal: str,
    problems: Sequence[Problem],
    results: Mapping[tuple[str, str], Result],
    others: Sequence[Problem],
    fresh_results: Mapping[tuple[str, str], Result],
) -> None:
    rows, fresh = rows_of(problems, results, signal), rows_of(others, fresh_results, signal)
    found = study_policy(rows, BUDGET, bins=5, reused=True)
    title = {"agreement": "the leading answer's share", "score": "the verifier's mean score"}[signal]
    report.say(f"## Difficulty by {title} over {PILOT} pilot samples", "")
    if signal == "score":
        report.say("For comparison; nothing is claimed of it but the last line.", "")
    claimed = signal == "agreement"
    good, of = by_bin(report, found, rows, fresh)
    large_name = LARGE.replace("/", "|")
    large = {p.id: [float(is_right(p, results[large_name, p.id].answer))] for p in problems}
    chosen = {id: [value] for id, value in found.by_problem.items()}
    single = {id: [value] for id, value in found.single_by_problem.items()}
    over_single = paired_difference(chosen, single)
    over_large = paired_difference(chosen, large)
    assert over_single is not None and over_single.low is not None and over_large is not None
    report.say(
        "",
        "| | percent right | samples a question | difference of the choice by bin, points [95 %] |",
        "|---|---:|---:|---:|",
        f"| by bin, 2-fold, pilot counted | {percent(found.accuracy)} | {found.cost:.2f} | |",
        f"| best single arm, 2-fold ({', '.join(dict.fromkeys(found.single))}) | {percent(found.single_accuracy)} | "
        f"{found.single_cost:.2f} | {points(over_single)} |",
        f"| {LARGE} | {percent(mean([v[0] for v in large.values()]))} | 64 | {points(over_large)} |",
        "",
    )
    report.claim(
        good == of,
        f"{good} of the {of} choices (a fold, a bin) are the best arm on {len(others)} other questions, or within "
        f"{100 * CLOSE:g} point of it",
        claimed,
    )
    report.claim(over_single.low > 0, f"better than the best single arm: {points(over_single)} points", claimed)
    report.claim(
        found.cost <= BUDGET and over_large.mean >= 0,
        f"at {found.cost:.2f} samples, pilot counted, no worse than {LARGE}: {points(over_large)} points",
        claimed,
    )
    again = [study_policy(rows, BUDGET, bins=5, reused=True, seed=seed) for seed in range(FOLDS)]
    gains = [one.accuracy - one.single_accuracy for one in again]
    report.claim(
        min(gains) > 0,
        f"better than it however the questions are put into folds: {100 * min(gains):+.1f} to {100 * max(gains):+.1f} "
        f"points over {FOLDS} seeds",
        claimed,
    )
    same, spent = live(found, problems, results, signal)
    report.claim(
        same == len(problems) and spent == found.cost * len(problems),
        f"run live, each fold by the policy of the other, `compute_optimal` gives the same verdict on {same} of "
        f"{len(problems)} questions, for {spent / len(problems):.2f} samples each",
    )
    report.say("", f"The policy, from all questions: `{found.policy}`", "")


def live(
    found: PolicyStudy, problems: Sequence[Problem], results: Mapping[tuple[str, str], Result], signal: str
) -> tuple[int, float]:
    """On how many problems the strategy does what the table says, and what that costs in all."""
    same, spent = 0, 0.0
    for fold in (0, 1):
        mine = [problem for problem in problems if found.folds[problem.id] == fold]
        ran = run({"live": str(found.fold_policy(1 - fold))}, mine, difficulty=signal)
        for problem in mine:
            result = ran["live", problem.id]
            same += float(is_right(problem, result.answer)) == found.by_problem[problem.id]
            spent += result.bill.total.samples
    return same, spent


def main() -> int:
    started = time.perf_counter()
    problems, others = questions(FIRST, PROBLEMS), questions(FIRST + PROBLEMS, FRESH)
    report = Report()
    report.say(
        "# Choosing by difficulty",
        "",
        "Written by `python benchmarks/methods/bins.py`. A simulated model: a first attempt is right with p = "
        f"{', '.join(map(str, RIGHT))} for the five kinds of question; a revision mends a wrong attempt with "
        f"{', '.join(map(str, MENDS))} and breaks a right one with {', '.join(map(str, BREAKS))}; {WRONG} wrong "
        f"answers; a verifier with a normal error of {NOISE}. These figures were made up, so that the curves cross. "
        f"Budget: {BUDGET} samples a question, pilot counted. Seed {SEED}, questions from number {FIRST} on, folds by "
        "seed 0; intervals are over questions.",
        "",
    )
    for signal in ("agreement", "score"):  # each with samples of its own: revisions are seeded by their place in a run
        results, fresh = run(named([*ARMS, LARGE]), problems, signal), run(named(ARMS), others, signal)
        if signal == "agreement":
            by_kind(report, problems, results)
        signal_section(report, signal, problems, results, others, fresh)
    text = "\n".join(report.lines).rstrip() + "\n"
    print(text)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    Path(__file__).with_suffix(".md").write_text(text)
    for missed in report.missed:
        print(f"MISSED: {missed}", file=sys.stderr)
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
