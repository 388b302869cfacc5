"""Does a gate of competence keep a judge from harm where it cannot solve the problems itself? With the small model.

    python -m benchmarks.methods.competence [--problems 30] [--base-url URL ...]
        prints the table, writes benchmarks/methods/competence.md; fails if the gated judge is more than a point below
        the vote. In process, 30 problems take three minutes on two cores

Krumdick et al. (2025), No Free Labels, arXiv:2503.05061: a judge grades well what it can answer itself. Chains of
arithmetic of level 5, of which the model gets few right in one attempt; `rubric` scores them, alone and behind the gate
`competent`, which abstains where the model's own answers do not agree.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.tiny_model.runs import Asked, add_servers, points, right, swept, tokens
from tts.intervals import mean_interval, paired_difference

SEED = 91
MOST_LOST = 0.01  # below the vote
VOTE, ALONE = "majority_vote:n=8", "best_of_n:n=8,verifier=rubric"
GATED = "best_of_n:n=8,verifier=competent(verifier=rubric)"
FILE = Path(__file__).with_suffix(".md")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=30, help="number of chains")
    add_servers(parser)
    given = parser.parse_args()
    (cells,) = swept([Asked(f"chain?levels=5&size={given.problems}&seed={SEED}", (VOTE, ALONE, GATED))], given.base_url)
    found = dict(zip((VOTE, ALONE, GATED), cells.values(), strict=True))
    lines, leads = [], {}
    for name, outcomes in found.items():
        leads[name] = paired_difference(right(outcomes), right(found[VOTE])) if name != VOTE else None
        accuracy = points(mean_interval(right(outcomes)))
        lines.append(f"| `{name}` | {tokens(outcomes):.0f} | {accuracy} | {points(leads[name], '+')} |")
    gated = leads[GATED]
    holds = gated is not None and gated.mean >= -MOST_LOST
    text = f"""# A judge behind a gate of competence

Written by `python -m benchmarks.methods.competence --problems {given.problems}`: {given.problems} chains of level 5, 8
samples of each, which all rows share. Tokens are all that were generated for one problem. Accuracy in points, with
95 % intervals over problems; the gain is over the vote, paired over them.

| strategy | tokens | accuracy | gain |
|---|---:|---:|---:|
{chr(10).join(lines)}

Behind the gate nothing is lost, by the mean: {"yes" if holds else "**no**"}, {points(gated, "+")} points.
"""
    print(text)
    FILE.write_text(text)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
