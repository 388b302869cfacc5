"""How often each sample of a race wins where all are alike: over HTTP, through the whole live path.

    python benchmarks/methods/races.py        prints the table and writes benchmarks/methods/races.md

All samples of a race have one length, or lengths from one distribution, so each of n should win 1/n of the races,
whatever the time to the first token is. The chi-squared test's p says how likely wins at least as uneven are, if so.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

from scipy.stats import chisquare

import tts
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply, Script, arithmetic

RACES, N = 120, 8
TIMES_S = (0.0, 0.05, 0.3, 1.0)  # to the first token
BEFORE = {0.3: "50 of 60", 1.0: "60 of 60"}  # of commit ab3c53d, where the other samples waited for the first one
MANY = 32  # requests in flight, the default
FILE = Path(__file__).with_suffix(".md")


def wins(script: Script, in_flight: int) -> list[int]:
    """How many races the first, the second ... sample won, with so many requests in flight."""
    with FakeEngine(script) as engine, tempfile.TemporaryDirectory() as folder:
        tts.sweep(
            f"arithmetic?size={RACES}&seed=3",
            f"first_finish:n={N}",
            base_url=engine.base_url,
            concurrency=in_flight,
            out=folder,
            report=False,
        )
        records = [json.loads(line) for line in (Path(folder) / "journal.jsonl").read_text().splitlines()]
    won = Counter(int(r["selected"].rpartition("/")[2]) for r in records if r["type"] == "decided")
    return [won[i] for i in range(1, N + 1)]


def line(lengths: str, first_token_s: float, script: Script, in_flight: int) -> str:
    won = wins(script, in_flight)
    before = BEFORE.get(first_token_s, "–") if lengths == "differ" and in_flight > MANY else "–"
    p = chisquare(won).pvalue
    return f"| {lengths} | {first_token_s:g} s | {in_flight} | {' '.join(map(str, won))} | {p:.2f} | {before} |"


def main() -> None:
    lines = [
        "# Races",
        "",
        "Written by `python benchmarks/methods/races.py`: " + (__doc__ or "").partition("\n\n")[0].lower().rstrip("."),
        f"({RACES} races of {N}, so {RACES // N} wins each are expected).",
        "",
        "| lengths | first token after | in flight | wins of samples 1 to 8 | p | the first sample's wins before |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for in_flight in (10, MANY, RACES * N):
        for first_s in TIMES_S if in_flight > MANY else TIMES_S[:3]:
            lines.append(line("differ", first_s, arithmetic(first_byte_s=first_s, per_token_s=0.01), in_flight))
            same = Reply(("Answer:", " 7"), first_byte_s=first_s, per_token_s=0.01)
            lines.append(line("equal", first_s, lambda _, same=same: same, in_flight))  # type: ignore[misc]
            print(*lines[-2:], sep="\n", flush=True)
    FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
