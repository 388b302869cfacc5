"""How well does the package's small model judge, in each way that the library has of asking it?

    python benchmarks/methods/judges_small_model.py [--problems 50]
        prints the table and writes benchmarks/methods/judges_small_model.md; some twenty minutes

Four solutions of each of some chains of arithmetic, sampled from the model in process, are judged by the same model in
process, with `tts.judge`, and its scores are compared with the graded answers. Judges of several solutions are also
shown them in reverse, without their own swapping, for their bias towards a place.
Exits non-zero where a judge whose prompt the model was trained on leaves more than 5 % of its replies unread, or does
not tell right from wrong better than a coin.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tts
from tts.analysis.judges.pairs import JudgedCandidate
from tts.analysis.judges.reasoning import Reasoning, reasoning
from tts.analysis.judges.study import JudgeReport
from tts.intervals import Interval
from tts.pools.pool import Pool
from tts.runs.judgements import Judgement

SEED = 2020
SAMPLES = 4
TRAINED = (
    "judge", "genrm", "prm", "pairwise", "pairwise(consistent=true)", "pairwise(expected=true)", "listwise", "rubric",
    "rubric(k=4)", "grm", "steps", "steps(aggregate=mean)", "mav(aspects=direct+steps)", "competent(verifier=genrm)",
)  # fmt: skip
UNTRAINED = (
    "pairwise(expected=true,reasons=false)", "judgelm(max_tokens=64)", "grm(k=2,max_tokens=128,together=true)",
    "mav(aspects=calculations+logic+question,max_tokens=128)", "steps(checks=typed,max_tokens=128)",
    "trajectory(max_tokens=128)",
)  # fmt: skip
PLACES = ("pairwise(swapped=false)", "listwise(orders=1)")
MOST_UNREAD = 0.05
FILE = Path(__file__).with_suffix(".md")


def share(interval: Interval | None, sign: str = "") -> str:
    if interval is None:
        return "–"
    low, high = (100 * each if each is not None else float("nan") for each in (interval.low, interval.high))
    return f"{100 * interval.mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def studied(
    pool: Path, judges: Sequence[str], folder: Path, orders: int = 1, limit: int | None = None
) -> Sequence[JudgeReport]:
    """The reports of these judges, in their order."""
    tts.judge(pool, judges, orders=orders, limit=limit, out=folder)
    found = {report.judge: report for report in tts.judge_report(folder).study.judges}
    return [*found.values()]


def steps_and_answers(folder: Path, judge: str) -> Reasoning:
    """The verdicts of a judge of steps, beside those on answers."""
    judged = tts.load(folder)
    pool = Pool.read(judged.pool)
    right: dict[tuple[str, int], bool] = {}
    for group in pool.groups():
        for at in range(group.start, group.stop):
            right[group.problem_id, int(pool.sample[at])] = bool(pool.correct[at])

    def candidate(one: Judgement) -> JudgedCandidate:
        correct = right[one.problem_id, one.sample_id]
        return JudgedCandidate(one.problem_id, one.model, one.sample_id, correct, None, ((one.value,),))

    return reasoning([candidate(one) for one in judged.judgements if one.judge == judge])


def row(report: JudgeReport) -> str:
    invalid = "–" if report.invalid is None else f"{100 * report.invalid:.1f}"
    shares = " | ".join(map(share, (report.pairs, report.ties, report.best, report.precision)))
    counted = f"{100 * (1 - report.scored / report.candidates):.1f} | {invalid} | {report.tokens or 0:.0f}"
    return f"| `{report.judge}` | {report.candidates} | {shares} | {counted} |"


def placed(report: JudgeReport) -> str:
    return f"| `{report.judge}` | {share(report.pairs)} | {share(report.consistency)} | {share(report.position, '+')} |"


def missed(reports: Sequence[JudgeReport]) -> list[str]:
    """What does not hold of judges whose prompts the model has learnt."""
    found = []
    for report in reports:
        if (report.invalid or 0.0) > MOST_UNREAD and not report.judge.startswith("competent"):
            found.append(f"`{report.judge}` leaves {100 * report.invalid:.1f} % of its replies unread")
        if report.pairs is None or report.ties is None or report.pairs.mean + report.ties.mean / 2 <= 0.5:
            found.append(f"`{report.judge}` does not tell right from wrong better than a coin")
    return found


HEAD = """| judge | candidates | right one ahead | tied | best of 4 is right | precision | abstained | unread | tokens |
|---|---:|---|---|---|---|---:|---:|---:|"""


def report(problems: int) -> tuple[str, list[str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = f"chain?size={problems}&seed={SEED}&levels=3,4"
        swept = tts.sweep(task, [f"majority_vote:n={SAMPLES}"], sampling={"max_tokens": 300}, out=folder / "solved")
        trained = studied(folder / "solved", TRAINED, folder / "trained")
        untrained = studied(folder / "solved", UNTRAINED, folder / "untrained", limit=-(-problems // 3))
        places = studied(folder / "solved", PLACES, folder / "places", orders=2)
        found = steps_and_answers(folder / "trained", "steps")
    wrong = missed(trained)
    vote = swept.rows[0].accuracy
    base = trained[0].base
    text = f"""# How well does the small model judge?

Written by `python benchmarks/methods/judges_small_model.py --problems {problems}`: {SAMPLES} solutions of each of
{problems} chains of levels 3 and 4, by the package's model in process, judged by the same model. A random solution is
right in {share(base)} % of cases, the vote of {SAMPLES} in {share(vote)} %. All figures but tokens in percent, with
95 % intervals over problems.

*Right one ahead*: of pairs of a right and a wrong solution of one problem, the share in which the right one has the
higher score; *tied*: in which neither has, or one has none. *Best of 4*: whether the solution with the highest score
is right. *Precision*: of solutions with a score of at least one half, for scores from 0 to 1. *Abstained*: of
candidates. *Unread*: of replies, after one repair. *Tokens*: generated ones for each candidate's score, both orders,
all votes and the judge's own answers included; judges whose questions are the same share their replies.

## Prompts that the model was trained on

{HEAD}
{chr(10).join(map(row, trained))}

{"All of them can be read and beat a coin." if not wrong else "Missed: " + "; ".join(wrong) + "."}

## Prompts that it has never seen

Of the first third of the problems.

{HEAD}
{chr(10).join(map(row, untrained))}

A small model has no words for these: what it says is unread, or noise. Where all is unread, selectors fall back on the
plain vote; another model judges by `--verifier-model`.

## Places

Both orders, each in a pass of its own. *Same verdict*: share of pairs on which the two passes agree; *first*: how much
more often the one that is shown first is preferred than the one that is shown last.

| judge | right one ahead | same verdict | first |
|---|---|---|---|
{chr(10).join(placed(one) for one in places)}

## Right answers with wrong reasoning

By the judge `steps`, of {found.candidates} solutions: right answer {share(found.answer)}, all steps right
{share(found.reasoning)}, both {share(found.overall)}; of those with a right answer, wrong steps
{share(found.reasoning_wrong)}.
"""
    return text, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=50, help="number of problems")
    text, wrong = report(parser.parse_args().problems)
    print(text)
    FILE.write_text(text)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
