"""Kills a random actor every second: `python tests/support/chaos.py SEED RAYLET_PID...`, until its standard input is
closed.

Only children of those raylets are killed, and never the last of its kind: on a busy machine an actor takes longer than
that to start, and nothing would ever get done. It prints what it killed.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
from pathlib import Path

EVERY_S = 1.0


def actors(raylets: set[int]) -> dict[bytes, list[int]]:
    """The pids of our actors under these raylets, by kind."""
    found: dict[bytes, list[int]] = {b"ray::GeneratorActor": [], b"ray::VerifierActor": []}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            title = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        for kind, pids in found.items():
            if parent in raylets and title.startswith(kind):
                pids.append(int(folder.name))
    return found


def main() -> None:
    """Kill until told to stop."""
    draw = random.Random(int(sys.argv[1]))
    raylets = set(map(int, sys.argv[2:]))
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        alive = [pid for pids in actors(raylets).values() if len(pids) > 1 for pid in sorted(pids)]
        if alive:
            pid = draw.choice(alive)
            os.kill(pid, signal.SIGKILL)
            print(pid, flush=True)


if __name__ == "__main__":
    main()
