"""Do tournaments pay with the package's small model, which judges its own solutions? Against the plain vote.

    python -m benchmarks.methods.tournaments_small_model [--problems 60] [--base-url URL ...]
        prints the table and writes benchmarks/methods/tournaments_small_model.md; fails where the judge's pairwise
        accuracy is 0.7 or more, and a knockout is below the vote. In process, 60 problems of each level take
        some minutes on two cores

Chains of arithmetic of levels 3 and 4; all strategies share the same eight samples. The judge is `pairwise`, in both
orders. Its accuracy is measured on duels: the first two samples of different answers, where exactly one is right; a tie
counts half.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tiny_model.runs import Asked, add_servers, points, right, swept, tokens
from tts.core.trials.context import Run
from tts.intervals import Interval, mean_interval, paired_difference
from tts.runs.outcomes import Outcome
from tts.types import Candidate, Problem

N, ENOUGH = 8, 0.7  # samples; the pairwise accuracy from which a knockout should not be below the vote
JUDGED = f"n={N},verifier=pairwise"
VOTE = f"majority_vote:n={N}"
TOURNAMENTS = (
    f"knockout:{JUDGED},trust=blind",
    f"knockout:{JUDGED}",
    f"bradley_terry:{JUDGED},trust=blind",
    f"knockout:n={N},verifier=pairwise(consistent=true),trust=blind",  # a win needs both orders
)
HERE = Path(__file__)
DUELS = tuple(f"{HERE}:duel:take={take}" for take in ("first", "second", "judge", "judge_or_second"))


async def duel(problem: Problem, run: Run, *, n: int = N, take: str = "judge", verifier: str = "pairwise") -> Candidate:
    """Of the first two samples of different answers: the first, the second, or the judge's, of a tie the first or the
    second. The first sample where all answers are the same."""
    found = [candidate for candidate in await run.generate(n=n) if candidate.answer is not None]
    first = found[0] if found else run.candidates[0]
    second = next((candidate for candidate in found if candidate.answer != first.answer), first)
    if take in ("first", "second") or second is first:
        return second if take == "second" else first
    one, two = await run.verify([first, second], verifier)
    if one.value is None or two.value is None or one.value == two.value:
        return second if take == "judge_or_second" else first
    return first if one.value > two.value else second


def accuracy(first: Sequence[Outcome], second: Sequence[Outcome], *judged: Sequence[Outcome]) -> dict[str, list[float]]:
    """Whether the judge was right, by problem, of the duels that one could win: a tie counts half."""
    one, two = right(first), right(second)
    picks = [right(each) for each in judged]
    decided = [problem for problem in one if one[problem] != two.get(problem, one[problem])]
    return {problem: [sum(pick[problem][0] for pick in picks) / len(picks)] for problem in decided}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=60, help="chains of each level")
    add_servers(parser)
    given = parser.parse_args()
    source = f"chain?levels=3,4&size={2 * given.problems}&seed=2011"
    (cells,) = swept([Asked(source, (VOTE, *TOURNAMENTS, *DUELS))], given.base_url)
    found = dict(zip((VOTE, *TOURNAMENTS, *DUELS), cells.values(), strict=True))
    duels = accuracy(*(found[text] for text in DUELS))
    judge = mean_interval(duels)
    assert judge is not None
    over = {text: paired_difference(right(found[text]), right(found[VOTE])) for text in TOURNAMENTS}
    text = report(found, over, judge, len(duels), given.problems)
    print(text)
    HERE.with_suffix(".md").write_text(text)
    if judge.mean >= ENOUGH and any(_below(over[name]) for name in TOURNAMENTS[:2]):
        sys.exit("the judge is good enough, and a knockout is below the vote")


def _below(difference: Interval | None) -> bool:
    return difference is not None and difference.mean < 0


def report(
    found: dict[str, Sequence[Outcome]],
    over: dict[str, Interval | None],
    judge: Interval,
    duels: int,
    problems: int,
) -> str:
    lines = []
    for name in (VOTE, *TOURNAMENTS):
        outcomes = found[name]
        judging = sum(outcome.verifier_tokens for outcome in outcomes) / len(outcomes)
        gain = points(over[name], "+") if name in over else ""
        whole = points(mean_interval(right(outcomes)))
        lines.append(f"| `{name}` | {tokens(outcomes):.0f} | {judging:.0f} | {whole} | {gain} |")
    bar = "reaches" if judge.mean >= ENOUGH else "does not reach"
    missed = any(_below(over[name]) for name in TOURNAMENTS[:2])
    said = "**It is not met:** a knockout is below the vote." if missed else "It is met."
    return f"""# Do tournaments pay with the small model?

Written by `python -m benchmarks.methods.tournaments_small_model --problems {problems}`: {problems} chains of level 3
and {problems} of level 4, {N} samples a problem, which all rows share. The judge is the model itself, asked in both
orders; its pairwise accuracy is {points(judge)} % ({duels} duels of a right and a wrong solution), and {bar} the
{ENOUGH} from which a knockout should not be below the vote. Tokens are generated ones a problem, verification (also by
itself) included. Accuracy in points, with 95 % intervals; the gain is over the vote, paired over problems.

| strategy | tokens | of verification | accuracy | gain |
|---|---:|---:|---:|---:|
{chr(10).join(lines)}

Bar: with such a judge a knockout is not below the vote. {said}
"""


if __name__ == "__main__":
    main()
