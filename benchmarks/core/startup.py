"""What importing and asking for help cost, against the interpreter and the libraries under them.

    python benchmarks/core/startup.py           prints the table and writes benchmarks/core/startup.md

Each figure is the median of runs that take turns, of whole processes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

REPEATS = 15
CASES = {
    "python -c pass": ["-c", "pass"],
    "import tts": ["-c", "import tts"],
    "from tts import Run, Candidate": ["-c", "from tts import Run, Candidate"],
    "import typer, rich.console": ["-c", "import typer, rich.console"],
    "tts --help": ["-m", "tts", "--help"],
    "tts sweep --help": ["-m", "tts", "sweep", "--help"],
}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(REPEATS):
        for name, arguments in CASES.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - began)
    middle = {name: statistics.median(found) for name, found in seconds.items()}
    base = middle["python -c pass"]
    lines = [
        "# Start-up",
        "",
        f"`python benchmarks/core/startup.py`; whole processes, median of {REPEATS} turns.",
        "",
        "| what | seconds | above the bare interpreter | ratio to it |",
        "|---|---|---|---|",
        *(f"| `{n}` | {s:.3f} | {s - base:.3f} | {s / base:.1f} |" for n, s in middle.items()),
        "",
    ]
    text = "\n".join(lines)
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
