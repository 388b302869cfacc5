"""JudgeBench (Tan et al. 2025, arXiv:2410.12784) through `tts.judge`: seven systems' recorded verdicts, to the digit.

    python benchmarks/published/judgebench.py POOLS     prints the table and writes benchmarks/published/judgebench.md

POOLS is a folder with `judgebench_verdicts.jsonl.gz`. The recorded verdicts are the replies of a model: the judge
`pairwise` asks it about each pair in both orders, reads them, and scores the two answers; `tts judge report` then says
how often the better one wins. Whether the two orders agree is seen in a second run, whose passes show the pairs as
recorded and in reverse. Texts of the answers are not recorded, and stand-ins take their place.
Exits non-zero where a figure differs from the one computed from the paper's outputs (rounded to two digits).
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import tts
from tts.pools.pool import Pool, Sample

DOMAINS = {"mmlu": "knowledge", "livebench-reasoning": "reasoning", "livebench-math": "math", "livecodebench": "code"}
PUBLISHED = {  # overall, knowledge, reasoning, math, code
    "o1-mini-2024-09-12": (65.71, 58.44, 62.24, 82.14, 78.57),
    "claude-3-haiku-20240307": (32.22, 37.66, 29.41, 32.35, 9.68),
    "Skywork_Skywork-Reward-Gemma-2-27B": (64.29, 59.74, 66.33, 83.93, 50.0),
    "internlm_internlm2-20b-reward": (63.43, 62.34, 69.39, 66.07, 50.0),
    "Skywork_Skywork-Reward-Llama-3.1-8B": (62.29, 59.09, 64.29, 76.79, 50.0),
    "Ray2333_GRM-Gemma-2B-rewardmodel-ft": (59.43, 62.99, 53.06, 64.29, 54.76),
    "internlm_internlm2-7b-reward": (59.43, 56.49, 61.22, 71.43, 50.0),
}
# Wrong, tied and inconsistent shares of those for which the paper's outputs were counted; unread games.
OTHERS = {"o1-mini-2024-09-12": (11.14, 23.14, 31.43, 0), "claude-3-haiku-20240307": (None, None, 50.0, 13)}
Row = dict[str, Any]


class Figures(NamedTuple):
    """One judge's, in percent; `right` overall and by domain; `unread`: games whose verdict could not be read."""

    right: tuple[float, ...]
    wrong: float
    tied: float
    inconsistent: float
    unread: int


def recorded(pools: Path) -> dict[str, dict[str, dict[str, Row]]]:
    """Judge -> pair -> order, AB or BA -> verdict."""
    found: dict[str, dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    with gzip.open(pools / "judgebench_verdicts.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            found[row["judge"].partition(":")[2]][row["pair_id"]][row["order"]] = row
    return found


def pool_of(judge: str, pairs: dict[str, dict[str, Row]]) -> Pool:
    """Pairs as two candidates each, of which the label says the right one."""
    rows = []
    for pair, orders in pairs.items():
        row = orders["AB"]
        domain = next(name for beginning, name in DOMAINS.items() if row["source"].startswith(beginning))
        for place, side in enumerate("AB"):
            right = (row["label"] == "A>B") == (side == "A")
            text = f"{pair} {side}"
            rows.append(Sample(domain, row["response_model"], pair, place, correct=right, text=text, prompt=pair))
    return Pool.of(judge, rows)


class Replies:
    """The model: gives the recorded verdict on a pair in the order in which it is shown, in the prompt's own labels."""

    def __init__(self, pairs: dict[str, dict[str, Row]]) -> None:
        self._pairs = pairs

    async def __call__(self, request: tts.Request) -> tts.Completion:
        pair, side = request.messages[0].content.partition("Solution A:\n")[2].split("\n")[0].split()
        order = "AB" if side == "A" else "BA"
        decision = self._pairs[pair][order]["decision_in_AB_frame"]
        shown = {"A>B": "A", "B>A": "B", "A=B": "C"}.get(decision, "")
        if order == "BA":
            shown = {"A": "B", "B": "A"}.get(shown, shown)
        return tts.Completion(f"[[{shown}]]" if shown else "I cannot say.", usage=tts.Usage(1, 1))


def judged(pools: Path, only: str | None = None) -> dict[str, Figures]:
    """The figures of each judge, or of one."""
    found = {}
    for judge, pairs in recorded(pools).items():
        if only is not None and judge != only:
            continue
        pool, model = pool_of(judge, pairs), Replies(pairs)
        with tempfile.TemporaryDirectory() as folder:
            both, each = Path(folder, "both"), Path(folder, "each")
            tts.judge(pool, "pairwise", model=model, out=both)
            tts.judge(pool, "pairwise(swapped=false)", orders=2, model=model, out=each)
            (whole,) = tts.judge_report(both).study.judges
            (in_turn,) = tts.judge_report(each).study.judges
            domains = [tts.judge_report(both, benchmark=name).study.judges[0] for name in DOMAINS.values()]
            unread = sum(one.unread for one in tts.load(each).judgements) // 2  # noted for both candidates
        right = tuple(100 * report.pairs.mean for report in (whole, *domains))
        tied = 100 * whole.ties.mean
        found[judge] = Figures(right, 100 - right[0] - tied, tied, 100 * (1 - in_turn.consistency.mean), unread)
    return found


def differences(found: dict[str, Figures]) -> list[str]:
    """What is not as published."""
    wrong = []
    for judge, figures in found.items():
        right = tuple(round(value, 2) for value in figures.right)
        if right != PUBLISHED[judge]:
            wrong.append(f"{judge}: {right}, published {PUBLISHED[judge]}")
        others = (round(figures.wrong, 2), round(figures.tied, 2), round(figures.inconsistent, 2), figures.unread)
        for now, published in zip(others, OTHERS.get(judge, ()), strict=False):
            if published is not None and now != published:
                wrong.append(f"{judge}: {others}, published {OTHERS[judge]}")
    return wrong


def table(found: dict[str, Figures]) -> str:
    heads = ["overall", *DOMAINS.values(), "wrong", "tied", "inconsistent", "unread games"]
    lines = [
        "# JudgeBench: recorded verdicts, read by the judge `pairwise`\n",
        "`python benchmarks/published/judgebench.py POOLS`. Percent of pairs in which the better answer wins, overall "
        "and by domain; wrong, tied (unreadable verdicts among them), and inconsistent: the two orders differ. A dash: "
        "not published.\n",
        "| judge | | " + " | ".join(heads) + " |",
        "|---|---|" + "---:|" * len(heads),
    ]
    for judge, published in PUBLISHED.items():
        others = ["-" if value is None else f"{value:g}" for value in OTHERS.get(judge, (None,) * 4)]
        lines.append(f"| {judge} | published | " + " | ".join([*(f"{v:.2f}" for v in published), *others]) + " |")
        now = found[judge]
        here = [*(f"{v:.2f}" for v in (*now.right, now.wrong, now.tied, now.inconsistent)), f"{now.unread}"]
        lines.append("| | here | " + " | ".join(here) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    found = judged(Path(sys.argv[1]))
    text = table(found)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)
    wrong = differences(found)
    for line in wrong:
        print(f"not as published: {line}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
