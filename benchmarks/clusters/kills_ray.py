"""Kills actors, nodes and drivers of sweeps on a small Ray cluster at random; writes what became of the sweeps.

    python benchmarks/clusters/kills_ray.py --kills 50 --seed 1        about six minutes on two cores; a line in
    kills_ray.md

The cluster has three nodes on this machine; the engine (FakeEngine) has a process of its own. A driver that was killed
or stopped is started again with the same command, until it says that the sweep is done. A sweep counts as right if its
answers are those of the same sweep undisturbed, and its books add up: every action has ended exactly once, whatever was
granted has ended or is booked as lost, and no actor is left.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
os.environ["RAY_AUTH_MODE"] = "disabled"

from chaos import actors  # noqa: E402

from tts.clusters.ray.environment import prepare  # noqa: E402
from tts.core.journal.records import Decided, Granted, Lost  # noqa: E402
from tts.runs.folder import JOURNAL, read_records  # noqa: E402

KINDS = {"actor": 12, "frozen actor": 3, "node": 1, "driver": 2}  # and how often, in relation to each other
EVERY_S = (0.7, 3.0)
FROZEN_S = (1.0, 12.0)
SWEEP = ("arithmetic?size=150&seed=7", "-s", "majority_vote:n=8", "-s", "best_of_n:n=4,verifier=judge")
LIMIT_S = 300.0  # of one sweep, kills included
SPEC = """cluster: ray
address: {address}
endpoints: [{url}]
generators: {{count: 3}}
heartbeat_s: 5
most_failures: 30
start_timeout_s: 300
"""


class Killer:
    """The cluster, and what is done to it."""

    def __init__(self, draw: random.Random) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
        self.nodes = [self.cluster.add_node(num_cpus=4) for _ in range(2)]
        self.kills: Counter[str] = Counter()
        self._draw = draw
        self._frozen: dict[int, float] = {}  # pid -> until when

    def alive(self) -> list[int]:
        raylets = {node.all_processes["raylet"][0].process.pid for node in self.cluster.list_all_nodes()}
        return sorted(pid for pids in actors(raylets).values() for pid in pids)

    def kill_something(self, driver: subprocess.Popen[str]) -> None:
        (kind,) = self._draw.choices([*KINDS], [*KINDS.values()])
        pids = [pid for pid in self.alive() if pid not in self._frozen]
        if kind == "driver":
            driver.kill()
        elif kind == "node":
            node = self.nodes.pop(self._draw.randrange(len(self.nodes)))
            node.kill_raylet()
            self.cluster.remove_node(node, allow_graceful=False)
            self.nodes.append(self.cluster.add_node(num_cpus=4))
        elif not pids:
            return
        elif kind == "actor":
            os.kill(self._draw.choice(pids), signal.SIGKILL)
        else:
            frozen = self._draw.choice(pids)
            os.kill(frozen, signal.SIGSTOP)
            self._frozen[frozen] = time.monotonic() + self._draw.uniform(*FROZEN_S)
        self.kills[kind] += 1

    def thaw(self, *, all_of_them: bool = False) -> None:
        for pid, until_s in [*self._frozen.items()]:
            if all_of_them or time.monotonic() > until_s:
                del self._frozen[pid]
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    continue


def sweep(cluster: str | Path, out: Path, log: Path, more: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tts", "sweep", *SWEEP, "--cluster", str(cluster), "--out", str(out)]
    command += ["--concurrency", "64", "--max-tokens", "40", "--no-report", *more]
    with log.open("a") as file:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, text=True)


def disturbed(killer: Killer, spec: Path, out: Path, log: Path, draw: random.Random, most: int) -> list[int]:
    """Run a sweep to its end under at most so many kills; the exit codes of its drivers."""
    driver, codes = sweep(spec, out, log, []), []
    began_s = time.monotonic()
    next_s = None
    while not codes or codes[-1] != 0:
        time.sleep(0.05)
        killer.thaw()
        if (code := driver.poll()) is not None:
            codes.append(code)
            if code != 0:
                driver = sweep(spec, out, log, [])
            continue
        if time.monotonic() - began_s > LIMIT_S:
            driver.kill()
            return [*codes, -1]
        if next_s is None:  # once the first samples are there
            journal = out / JOURNAL
            if journal.is_file() and journal.stat().st_size > 60_000:
                next_s = time.monotonic()
        elif time.monotonic() > next_s and most > 0:
            most -= 1
            killer.kill_something(driver)
            next_s = time.monotonic() + draw.uniform(*EVERY_S)
    killer.thaw(all_of_them=True)
    return codes


def faults(records: list[Any], undisturbed: dict[str, str | None]) -> list[str]:
    """What is wrong with the books or the answers of a sweep."""
    answers = {record.trial: record.answer for record in records if isinstance(record, Decided)}
    granted = Counter(record.id for record in records if isinstance(record, Granted))
    lost = Counter(r.id for r in records if isinstance(r, Lost) and r.id in granted and not r.hedge)
    ended = Counter(
        r.id for r in records if type(r).__name__ in ("Finished", "Scored", "Failed", "Cancelled") and r.id in granted
    )
    found = [f"{id}: another answer than undisturbed" for id in undisturbed if answers.get(id) != undisturbed[id]]
    found += [f"{id}: ended {ended[id]} times" for id in granted if ended[id] != 1]
    found += [
        f"{id}: granted {granted[id]} times, lost {lost[id]} times"
        for id in granted
        if granted[id] not in (lost[id], lost[id] + 1)
    ]
    return found


def note(options: str, kills: Counter[str], sweeps: int, right: int) -> None:
    """Print a row of the table, and put it into kills_ray.md in place of an earlier one of the same options."""
    counts = " | ".join(str(kills[kind]) for kind in KINDS)
    row = f"| `{options}` | {kills.total()} | {counts} | {sweeps} | {right} |"
    print(row)
    table = Path(__file__).with_suffix(".md")
    lines = [line for line in table.read_text().splitlines() if not line.startswith(f"| `{options}` ")]
    last = max(number for number, line in enumerate(lines) if line.startswith("|"))
    table.write_text("\n".join([*lines[: last + 1], row, *lines[last + 1 :]]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--of-each", type=int, default=17, help="Kills of each sweep.")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    prepare("the cluster below")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        engine = subprocess.Popen(
            [sys.executable, "-m", "tts.testing.engine", "--port", "0", "--per-token-s", "0.15", "--error-rate", "0.4",
             "--slots", "1024"], stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert engine.stdout is not None
        url = engine.stdout.readline().split()[-1]
        plain = sweep("local", place / "plain", place / "plain.log", ["--base-url", url])
        assert plain.wait() == 0, (place / "plain.log").read_text()
        records = list(read_records(place / "plain" / JOURNAL))
        undisturbed = {record.trial: record.answer for record in records if isinstance(record, Decided)}
        killer = Killer(draw)
        try:
            right = sweeps = 0
            while sum(killer.kills.values()) < given.kills:
                sweeps += 1
                spec, out, log = place / "spec.yaml", place / f"run{sweeps}", place / f"run{sweeps}.log"
                spec.write_text(SPEC.format(address=killer.cluster.address, url=url))
                left = min(given.of_each, given.kills - sum(killer.kills.values()))
                codes = disturbed(killer, spec, out, log, draw, left)
                found = faults(list(read_records(out / JOURNAL)), undisturbed)
                time.sleep(2)
                found += [f"{len(killer.alive())} actors left"] if killer.alive() else []
                right += codes[-1] == 0 and not found
                print(f"sweep {sweeps}: exit codes {codes}, {dict(killer.kills)}, faults {found[:5]}", flush=True)
                if found or not set(codes) <= {0, -signal.SIGKILL}:
                    print(log.read_text()[-3000:], flush=True)
            note(f"--kills {given.kills} --seed {given.seed}", killer.kills, sweeps, right)
        finally:
            killer.thaw(all_of_them=True)
            killer.cluster.shutdown()
            engine.kill()


if __name__ == "__main__":
    main()
