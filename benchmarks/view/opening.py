"""How long `tts view` takes to show 100,000 samples: a run, a run that was killed, and a pool.

    python benchmarks/view/opening.py [FOLDER]    prints the table and writes benchmarks/view/opening.md

The run is made first, by a sweep over a model that is a function: 2,000 problems, majority votes of 50 of texts of a
thousand characters; it is kept in FOLDER for the next time. The killed one has the first nine tenths of its journal,
and no verdicts. Then `tts view` is started as a person starts it, and asked for the overview, for the heat map, and for
a trial with all of its texts, as the page does. Seconds are from the start of the process, imports included, the
fastest of three; CPU seconds are the process's own.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx2

import tts
from tts.pools.parquet import write_pool
from tts.pools.pool import Pool, Sample

PROBLEMS, SAMPLES = 2000, 50
STRATEGIES = ["single", f"majority_vote:n=8,{SAMPLES}"]
BAR_S, BAR_TRIAL_S, BAR_MB = 2.0, 0.5, 300.0
ROUNDS = 3
WORDS = (
    "so",
    "the",
    "total",
    "of",
    "these",
    "numbers",
    "is",
    "then",
    "added",
    "to",
    "what",
    "we",
    "had",
    "before",
    "and",
)


def text_of(seed: int) -> str:
    number = int(hashlib.md5(f"{seed}".encode()).hexdigest(), 16)
    return " ".join(WORDS[(number >> (i % 100)) % len(WORDS)] for i in range(200)) + f"\nAnswer: {number % 5}"


async def model(request: tts.Request) -> tts.Completion:
    return tts.Completion(text_of(request.seed), usage=tts.Usage(60, 200 + request.seed % 50))


def make_run(folder: Path) -> Path:
    run = folder / "run"
    if not (run / "outcomes.jsonl").is_file():
        examples = [tts.Example(tts.Problem(f"p{i}", f"What is {i} + {i + 1}? " * 10), "3") for i in range(PROBLEMS)]
        options = {"model": model, "concurrency": 256, "sampling": {"max_tokens": 512}}
        tts.sweep(examples, STRATEGIES, out=run, report=False, **options)
    return run


def make_killed(folder: Path, run: Path) -> Path:
    killed = folder / "killed"
    if not killed.is_dir():
        shutil.copytree(run, killed)
        (killed / "outcomes.jsonl").unlink()
        os.truncate(killed / "journal.jsonl", (killed / "journal.jsonl").stat().st_size * 9 // 10)
    return killed


def make_pool(folder: Path) -> Path:
    path = folder / "pool.parquet"
    if not path.is_file():
        rows = [
            Sample(
                "sums", "function", f"p{i}", k, answer=str(k % 5), correct=k % 5 == 3, completion_tokens=200,
                prompt_tokens=60, text=text_of(i * SAMPLES + k), prompt=f"What is {i} + {i + 1}?", reference="3",
            )
            for i in range(PROBLEMS)
            for k in range(SAMPLES)
        ]  # fmt: skip
        write_pool(Pool.of("sums", rows), path)
    return path


class Opened(NamedTuple):
    """Seconds from the start until each had come, its own seconds for a trial, CPU seconds, and megabytes at most."""

    overview_s: float
    grid_s: float
    trial_s: float
    cpu_s: float
    megabytes: float
    samples: int


def opened(path: Path) -> Opened:
    began = time.perf_counter()
    command = [sys.executable, "-m", "tts", "view", str(path), "--no-browser"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        while not (found := re.search(r"http://\S+", said := process.stderr.readline())):
            assert said, "tts view ended"
        with httpx2.Client(base_url=found[0], timeout=60) as http:
            overview = http.get("/api/overview").json()
            overview_s = time.perf_counter() - began
            grid = http.get("/api/grid").json()
            grid_s = time.perf_counter() - began
            cpu_s, megabytes = usage_of(process.pid)
            middle = time.perf_counter()
            problem = grid["problems"][len(grid["problems"]) // 2]["id"]
            page = http.get(f"/api/problem?id={quote(problem)}").json()
            trial = page["cells"][-1]["trials"][-1]["id"]
            shown = http.get(f"/api/trial?id={quote(trial, safe='')}").json()
            assert len(shown["candidates"]) == SAMPLES
            for candidate in shown["candidates"][:8]:
                text = http.get(f"/api/text?id={quote(candidate['id'], safe='')}").json()
                assert text["text"].startswith(candidate["text_preview"])
            return Opened(overview_s, grid_s, time.perf_counter() - middle, cpu_s, megabytes, overview["samples"])
    finally:
        process.terminate()
        process.communicate()


def usage_of(pid: int) -> tuple[float, float]:
    """CPU seconds and peak megabytes of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert peak is not None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(peak[1]) / 1024


def main(folder: Path) -> int:
    run = make_run(folder)
    kinds = {"run": run, "run, killed": make_killed(folder, run), "pool": make_pool(folder)}
    lines = [
        "# Opening 100,000 samples", "",
        f"`tts view` from the start of its process, the fastest of {ROUNDS}, on {os.cpu_count()} cores (load "
        f"{os.getloadavg()[0]:.1f} at the start); the journal has "
        f"{(run / 'journal.jsonl').stat().st_size / 1e6:.0f} MB. *Trial*: from a click on a problem until a trial of "
        f"{SAMPLES} candidates and 8 of their texts have come. Bars: overview and heat map within {BAR_S:g} s, a trial "
        f"within {BAR_TRIAL_S:g} s, {BAR_MB:g} MB.", "",
        "| | samples | overview s | heat map s | CPU s | peak MB | trial s | |", "|---|--:|--:|--:|--:|--:|--:|---|",
    ]  # fmt: skip
    failed = False
    for name, path in kinds.items():
        rounds = [opened(path) for _ in range(ROUNDS)]
        best = Opened(*(min(values) for values in zip(*rounds, strict=True)))
        bars = {"heat map": best.grid_s > BAR_S, "trial": best.trial_s > BAR_TRIAL_S, "MB": best.megabytes > BAR_MB}
        missed = [what for what, is_missed in bars.items() if is_missed]
        failed |= bool(missed)
        lines.append(
            f"| {name} | {best.samples:,} | {best.overview_s:.2f} | {best.grid_s:.2f} | {best.cpu_s:.2f} | "
            f"{best.megabytes:.0f} | {best.trial_s:.2f} | {'missed: ' + ', '.join(missed) if missed else 'kept'} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(temporary)))
