"""Does searching over steps pay with the package's small model? Against weighted best-of-N, at equal generated tokens.

    python benchmarks/methods/small_model_search.py [--problems 40]
        prints the table and writes benchmarks/methods/small_model_search.md; half an hour

Chains of arithmetic of levels 4 and 5, fresh ones, which the model solves and whose steps it judges (verifier `prm`,
one token a judgement), in process. Tokens are all that were generated, verification included. A search is compared with
the smallest best-of-N that was given at least as many tokens, paired over problems: the comparison is on the side of
best-of-N.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import tts
from tts.intervals import Interval, mean_interval, paired_difference
from tts.runs.outcomes import Outcome

SEED = 1905
SIZES = (4, 8, 12, 16, 24, 32)
WEIGHTED = "best_of_n:verifier=prm,selector=weighted_majority,n="
SEARCHES = ("beam_search:n=8,m=4", "beam_search:n=16,m=4", "dvts:n=16,m=4", "rebase:n=16")
FILE = Path(__file__).with_suffix(".md")

Cells = Mapping[str, Sequence[Outcome]]  # by strategy and parameters, as asked for


def swept(count: int) -> Cells:
    """All strategies on `count` problems of each level. Cells share samples, so that best-of-N costs its largest N."""
    asked = [f"{WEIGHTED}{','.join(map(str, SIZES))}", f"majority_vote:n={SIZES[-1]}", *SEARCHES]
    result = tts.sweep(f"chain?size={2 * count}&seed={SEED}&levels=4,5", asked, sampling={"max_tokens": 300}, seeds=1)
    cells: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in result.outcomes:
        cells[f"{outcome.strategy}:{outcome.params}"].append(outcome)
    return cells


def right(outcomes: Sequence[Outcome]) -> dict[str, list[float]]:
    return {o.problem_id: [float(o.correct)] for o in outcomes if o.correct is not None}


def tokens(outcomes: Sequence[Outcome]) -> float:
    return sum(o.tokens for o in outcomes) / len(outcomes)


def compared(search: Sequence[Outcome], weighted: Sequence[Sequence[Outcome]]) -> tuple[str, Interval | None]:
    """The best-of-N that a search is compared with, and by how much the search is better."""
    enough = [one for one in weighted if tokens(one) >= tokens(search)]
    if not enough:
        return "none has as many tokens", None
    other = min(enough, key=tokens)
    return f"`{other[0].params}`, {tokens(other):.0f} tokens", paired_difference(right(search), right(other))


def shown(interval: Interval | None, sign: str = "") -> str:
    if interval is None:
        return "–"
    return f"{100 * interval.mean:{sign}.1f} [{100 * interval.low:{sign}.1f}, {100 * interval.high:{sign}.1f}]"


def report(cells: Cells, count: int) -> str:
    weighted = [outcomes for name, outcomes in cells.items() if name.startswith("best_of_n")]
    lines = []
    for name, outcomes in sorted(cells.items(), key=lambda cell: (cell[0].partition(":")[0], tokens(cell[1]))):
        other, by = ("", None) if outcomes in weighted or name.startswith("majority") else compared(outcomes, weighted)
        verifier = sum(o.verifier_tokens for o in outcomes) / len(outcomes)
        accuracy = shown(mean_interval(right(outcomes)))
        lines.append(
            f"| `{name}` | {tokens(outcomes):.0f} | {verifier:.0f} | {accuracy} | {other} | {shown(by, '+')} |"
        )
    return f"""# Does searching over steps pay with the small model?

Written by `python benchmarks/methods/small_model_search.py --problems {count}`: {count} chains of level 4 and {count}
of level 5, by the package's model in process, whose verifier `prm` judges steps. Tokens are generated ones a problem,
verification (also by itself) included; a judgement is one token, and reads a prompt that is not in these figures.
Accuracy in points, with 95 % intervals over problems. A search is compared with the smallest weighted best-of-N that
had at least as many tokens, paired over problems.

| strategy | tokens | of verification | accuracy | compared with | by points |
|---|---:|---:|---:|---|---:|
{chr(10).join(lines)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=40, help="number of problems of each level")
    count = parser.parse_args().problems
    text = report(swept(count), count)
    print(text)
    FILE.write_text(text)


if __name__ == "__main__":
    main()
