"""The driver's process as its actors on the same machine see it: they end within a moment of its death.

Ray ends the actors of a driver that was killed within 2 s or so; until then their streams would go on, unseen by any
journal. Linux only: elsewhere, and on other machines, it is Ray alone that ends them.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from tts.types import Value


class DriverProcess(Value, frozen=True):
    """A process: the boot of its machine, its number, and when it began in clock ticks of that boot, so that neither a
    process elsewhere nor a later one is taken for it."""

    boot: str
    pid: int
    began: str


def this_process() -> DriverProcess | None:
    """This process as a `DriverProcess`; None without /proc."""
    state = _state(os.getpid())
    boot = _boot()
    return None if state is None or not boot else DriverProcess(boot, os.getpid(), state[1])


def is_seen(driver: DriverProcess | None) -> bool:
    """Whether the driver runs, on this machine and visible to this process."""
    if driver is None or driver.boot != _boot():
        return False
    state = _state(driver.pid)
    return state is not None and state[1] == driver.began and state[0] not in "ZX"


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _state(pid: int) -> tuple[str, str] | None:
    """The process's state, as a letter, and when it began; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[19]
