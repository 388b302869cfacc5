"""The folder of a client's journal."""

from __future__ import annotations

from pathlib import Path

from tts.api.arguments import as_path
from tts.runs.kinds import check_command


def as_journal(given: str | Path) -> Path:
    """Raises: InvalidParameter for what is no path; RunMismatch for the folder of a run."""
    folder = as_path(given, "journal")
    check_command(folder, "serve")
    return folder
