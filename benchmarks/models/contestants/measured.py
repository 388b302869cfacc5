"""Runs a command and says what it and all its descendants have cost: `python measured.py LIMIT_S COMMAND...`

Prints one line of JSON: seconds of wall and CPU time, and the command's exit status, output and errors. Linux only:
what its descendants leave behind (Ray's daemons) becomes a child of this process, which waits for it, so that the
kernel has counted it. The kernel counts nothing of a process whose parent ignores SIGCHLD, as Ray's raylet does with
its workers and agents: these are looked at a few times a second, so that a moment before their end may be missed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
REST_S = 10.0  # for what outlives the command
LOOK_EVERY_S = 0.2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Uncounted:
    """The descendants whose parent ignores SIGCHLD, by number, with the CPU seconds that they had when last seen."""

    def __init__(self) -> None:
        self.cpu_s: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        children: defaultdict[int, list[int]] = defaultdict(list)
        used_s: dict[int, float] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                fields = path.read_text().rpartition(")")[2].split()
                pid = int(path.parent.name)
                children[int(fields[1])].append(pid)
                used_s[pid] = sum(map(int, fields[11:15])) / TICKS_PER_S  # with those that it has waited for
        parents = [os.getpid()]
        for parent in parents:
            parents += children[parent]
            if children[parent] and ignores_children(parent):
                self.cpu_s |= {pid: used_s[pid] for pid in children[parent]}


def ignores_children(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    ignored = int(status.partition("\nSigIgn:")[2].split()[0], 16)
    return bool(ignored >> (signal.SIGCHLD - 1) & 1)


def main(limit_s: float, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    uncounted = Uncounted()
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    wall_s = time.perf_counter() - began
    counted = reap(time.monotonic() + REST_S)
    uncounted.end()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime + sum(s for pid, s in uncounted.cpu_s.items() if pid not in counted)
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "status": process.returncode, "out": out, "err": err[-2000:]}))


def reap(until: float) -> set[int]:
    """Wait for all children, and return their numbers; those that are there at `until` are killed."""
    found: set[int] = set()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        found.add(pid)
        if pid == 0:
            if time.monotonic() > until:
                for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(child), signal.SIGKILL)
            time.sleep(0.02)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
