"""Ends processes that functions of a pool of workers left behind. A script for Linux, without imports of `tts`.

A child that leaves its process group (`setsid`) outlives the group's SIGKILL, and one of a pool that was itself killed
has no parent left to end it. But it inherits its environment, and in it the marks of its pool and of its worker. So
each pool has one of these processes. It reads marks on its standard input, one a line, and kills all processes that
carry them, again and again until none does. At an empty line, or when that pipe closes or the pool's process is gone,
whatever ended it, it does so for the mark of the whole pool, and ends.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

MARKS = "TTS_WORKERS"  # the environment variable: marks, joined by colons, for a worker may have workers of its own
_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 1.0
_CLEAN_SWEEPS = 2  # in a row: a process in the middle of an exec has no environment for a moment


def carried(environment: bytes, marks: set[bytes]) -> set[bytes]:
    """Those of the marks that a process with this environment (as in /proc) carries. Without the variable, none: an
    empty mark, which could come of a mistake, is on no process."""
    _, _, rest = (b"\0" + environment).partition(f"\0{MARKS}=".encode())
    return (marks & set(rest.partition(b"\0")[0].split(b":"))) - {b""}


def kill_marked(marks: set[bytes]) -> set[bytes]:
    """Kill every process that carries one of these marks; returns those that were found."""
    found: set[bytes] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb", buffering=0) as file:
                here = carried(file.read(), marks)
            if here:
                os.kill(int(name), signal.SIGKILL)
        except OSError:  # it has ended just now, or is another user's
            continue
        found |= here
    return found


class Sweeper:
    """The marks to look for, and the wait before the next look."""

    def __init__(self) -> None:
        self.pause_s = _PAUSE_S
        self.left: dict[bytes, int] = {}  # mark -> number of sweeps that must still find none

    def add(self, marks: list[bytes]) -> None:
        self.left.update(dict.fromkeys(marks, _CLEAN_SWEEPS))

    def sweep(self) -> None:
        found = kill_marked(set(self.left))
        for mark in [*self.left]:
            self.left[mark] = _CLEAN_SWEEPS if mark in found else self.left[mark] - 1
            if not self.left[mark]:
                del self.left[mark]
        self.pause_s = min(2 * self.pause_s, _LONGEST_PAUSE_S) if found else _PAUSE_S


def main(pool_mark: bytes, pool: int) -> None:
    assert sys.platform == "linux"
    watched = [0]
    try:
        watched.append(os.pidfd_open(pool))  # because a fork of the pool's process may hold the pipe open
    except ProcessLookupError:
        watched = []
    except OSError:
        pass  # an older kernel: the pipe alone
    sweeper, rest = Sweeper(), b""
    while watched:
        ready, _, _ = select.select(watched, [], [], sweeper.pause_s if sweeper.left else None)
        if ready:
            data = os.read(0, 65_536) if ready == [0] else b""
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            if b"" in lines:
                break
            sweeper.add(lines)
        sweeper.sweep()
    sweeper.add([pool_mark])
    sweeper.sweep()
    while sweeper.left:
        time.sleep(sweeper.pause_s)
        sweeper.sweep()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # An orphan, because Ray kills the children of an actor's process along with it.
    if os.fork() == 0:
        main(sys.argv[1].encode(), int(sys.argv[2]))
