"""Kills engines and the driver at random moments, and counts the runs that end as the undisturbed one.

    python benchmarks/models/kills.py [KILLS]     prints the table and writes benchmarks/models/kills.md; 100 kills take
    some minutes

A run is `tts sweep` in a process of its own, on engines (`python -m tts.testing.engine`) in processes of their own. All
are killed with SIGKILL; an engine is back after up to a second, and the driver's command is repeated. With Ray's actors
and nodes, `tests/system/test_chaos.py` does the same. Baseline: the same run that nobody disturbs.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

from tts.core.actions import Cancelled, Failed, Finished
from tts.core.journal.records import Decided, Granted, Lost
from tts.runs.folder import JOURNAL, read_records

ENGINES = 3
PROBLEMS = 150
EVERY_S = (0.4, 1.6)
DOWN_S = (0.05, 1.0)
DRIVERS = 0.25  # share of the kills
LIMIT_S = 300.0
MOST_STOPS = 5  # of a driver by itself, in one run


class Engine:
    """A fake engine in a process of its own, at one port for good."""

    def __init__(self) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            self.port = reserved.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.decoded = 0  # as far as it was asked before its deaths
        self.start()

    def start(self) -> None:
        flags = ["--port", str(self.port), "--per-token-s", "0.05", "--error-rate", "0.4"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tts.testing.engine", *flags], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def kill(self) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats") as page:
            self.decoded += json.load(page).get("tokens", 0)
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Run:
    """One sweep in a folder, from its first start to its end.

    Attributes:
        killed: how many of what.
        status: of the last driver that ended by itself; stops: of those before that stopped, resumable.
    """

    def __init__(self, folder: Path, problems: int = PROBLEMS) -> None:
        self.folder = folder
        self.killed: Counter[str] = Counter()
        self.status: int | None = None
        self.stops = 0
        self._problems = problems

    def start(self, engines: list[Engine]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tts", "sweep", f"arithmetic?size={self._problems}&seed=7"]
        command += ["-s", "majority_vote:n=4", "--concurrency", "24", "--max-tokens", "40", "--no-report"]
        for engine in engines:
            command += ["--base-url", engine.url]
        with self.folder.with_suffix(".log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--out", str(self.folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def written(self) -> int:
        journal = self.folder / JOURNAL
        return journal.stat().st_size if journal.exists() else 0

    def disturbed(self, engines: list[Engine], most: int, draw: random.Random) -> None:
        """To its end, with at most so many kills. The driver is killed only after it has got on."""
        driver, limit_s, began = self.start(engines), time.monotonic() + LIMIT_S, 0
        while time.monotonic() < limit_s:
            try:
                self.status = driver.wait(draw.uniform(*EVERY_S))
                if self.status == 0 or self.stops == MOST_STOPS:
                    return
                self.stops += 1
                driver = self.start(engines)
            except subprocess.TimeoutExpired:
                pass
            if self.killed.total() >= most or not self.written():
                continue
            if draw.random() >= DRIVERS:
                engine = draw.choice(engines)
                engine.kill()
                self.killed["engine"] += 1
                time.sleep(draw.uniform(*DOWN_S))
                engine.start()
            elif self.written() > began:
                driver.send_signal(signal.SIGKILL)
                driver.wait()
                self.killed["driver"] += 1
                began = self.written()
                driver = self.start(engines)
        driver.kill()
        driver.wait()

    def answers(self) -> dict[str, tuple[str | None, int, int]]:
        """Trial -> its answer, its samples, and those that failed."""
        records = read_records(self.folder / JOURNAL)
        return {r.trial: (r.answer, r.samples, r.failed) for r in records if isinstance(r, Decided)}

    def faults(self) -> list[str]:
        """What is wrong with its books: each grant ends once, as a sample or as a loss, and each sample comes once."""
        records = list(read_records(self.folder / JOURNAL))
        granted = Counter(r.id for r in records if isinstance(r, Granted))
        ended = Counter(r.id for r in records if isinstance(r, Finished | Failed | Cancelled))
        lost = Counter(r.id for r in records if isinstance(r, Lost))
        found = [f"{id}: {number} ends" for id, number in ended.items() if number != 1]
        return found + [f"{id}: {granted[id]} grants" for id in granted if granted[id] != ended[id] + lost[id]]

    def tokens(self) -> tuple[int, int]:
        """Paid for samples, and booked as lost."""
        records = list(read_records(self.folder / JOURNAL))
        paid = sum(r.usage.completion_tokens for r in records if isinstance(r, Finished))
        return paid, sum(r.cost.tokens for r in records if isinstance(r, Lost))


def main(kills: int) -> None:
    """Disturb runs until so many kills have been made."""
    draw, engines, rows, killed = random.Random(14), [Engine() for _ in range(ENGINES)], [], Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            whole = Run(Path(scratch, "whole"))
            whole.disturbed(engines, 0, draw)
            paid, _ = whole.tokens()
            same, runs, lost = 0, 0, 0
            while killed.total() < kills:
                run = Run(Path(scratch, str(runs)))
                run.disturbed(engines, kills - killed.total(), draw)
                runs, killed = runs + 1, killed + run.killed
                alike = (
                    run.status == 0 and not run.stops and run.answers() == whole.answers() and run.tokens()[0] == paid
                )
                same += alike and not run.faults()
                lost += run.tokens()[1]
                print(f"run {runs}: {dict(run.killed)}, {'as the undisturbed' if alike else 'OTHERWISE'}", flush=True)
                if not alike:
                    print(run.status, run.folder.with_suffix(".log").read_text()[-2000:])
            decoded = sum(engine.decoded for engine in engines)
        finally:
            for engine in engines:
                engine.kill()
    rows = [
        ("runs", f"{runs}"),
        ("kills", f"{killed.total()}: {killed['engine']} of engines, {killed['driver']} of the driver"),
        ("runs that end as the undisturbed one, with books that add up", f"{same}"),
        ("tokens paid for samples, of each run", f"{paid:,}"),
        ("tokens booked as lost, a kill", f"{lost / max(1, killed.total()):,.0f}"),
        ("tokens that killed engines said they had decoded, all runs", f"{decoded:,}"),
    ]
    text = "# Kills of engines and drivers\n\n" + f"`python benchmarks/models/kills.py {kills}`: {ENGINES} engines, "
    text += f"{PROBLEMS} problems, `majority_vote:n=4`, 24 requests in flight.\n\n| | |\n|---|---|\n"
    text += "".join(f"| {name} | {value} |\n" for name, value in rows)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
