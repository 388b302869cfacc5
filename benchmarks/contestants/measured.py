"""Runs a command and says what it and all its descendants have cost: `python measured.py LIMIT_S COMMAND...`

Prints one line of JSON: seconds of wall and CPU time, and the command's exit status, output and errors. Linux only:
what its descendants leave behind (Ray's daemons) becomes a child of this process, which waits for it, so that the
kernel has counted it.
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
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
REST_S = 10.0  # for what outlives the command


def main(limit_s: float, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    wall_s = time.perf_counter() - began
    reap(time.monotonic() + REST_S)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "status": process.returncode, "out": out, "err": err[-2000:]}))


def reap(until: float) -> None:
    """Wait for all children; those that are there at `until` are killed."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() > until:
                for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(child), signal.SIGKILL)
            time.sleep(0.02)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
