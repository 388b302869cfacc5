"""Peak memory of a sweep against its number of samples: text goes to the journal, not into memory.

    python benchmarks/core/memory.py            prints the table and writes benchmarks/core/memory.md

Each row is a real sweep in a process of its own against FakeEngine (in this process): majority_vote with n=4, replies
of about 1 KB. Peak memory is the operating system's (`ru_maxrss`); the smallest sweep shows what the program itself
takes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tts.runs.folder import JOURNAL
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic

SAMPLES = (400, 2_500, 5_000, 10_000)
SWEEP = """
import resource, sys
import tts
url, out, problems = sys.argv[1:]
result = tts.sweep(
    f"arithmetic?size={problems}&seed=7", "majority_vote:n=4", out=out, base_url=url, concurrency=32, report=False
)
if not result.complete:
    raise SystemExit("the sweep is not complete")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak // 1024 if sys.platform == "darwin" else peak)
"""


def peak_mb(engine: FakeEngine, samples: int) -> tuple[float, float]:
    """Peak memory of the sweep's process and the size of its journal, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", SWEEP, engine.base_url, folder, str(samples // 4)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout) / 1024, (Path(folder) / JOURNAL).stat().st_size / 2**20


def main() -> None:
    with FakeEngine(arithmetic(words=350)) as engine:
        peaks = {samples: peak_mb(engine, samples) for samples in SAMPLES}
    base = peaks[SAMPLES[0]][0]
    lines = [
        "# Memory of a sweep",
        "",
        "`python benchmarks/core/memory.py`; majority_vote:n=4, 32 requests in flight, replies of about 1 KB.",
        "",
        f"| samples | peak memory, MB | more than {SAMPLES[0]} samples take, MB | ratio | journal, MB |",
        "|---|---|---|---|---|",
        *(
            f"| {n:,} | {peak:.0f} | {peak - base:.1f} | {peak / base:.2f} | {journal:.1f} |"
            for n, (peak, journal) in peaks.items()
        ),
        "",
    ]
    text = "\n".join(lines)
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
