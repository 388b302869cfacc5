"""Whether a run is being written at this moment.

The journal's lock is looked up, not tried: a run that starts must not be refused because somebody looks.
"""

from __future__ import annotations

import time
from pathlib import Path

_QUIET_S = 10.0  # without a list of locks, a journal that was written so recently counts as live


def is_written(journal: Path) -> bool:
    """Whether a process holds the journal of a run open to write to it."""
    try:
        status = journal.stat()
    except OSError:
        return False
    try:
        locks = Path("/proc/locks").read_text()
    except OSError:
        return time.time() - status.st_mtime < _QUIET_S
    inode = f":{status.st_ino} "
    return any(inode in line and "FLOCK" in line and "WRITE" in line for line in locks.splitlines())
