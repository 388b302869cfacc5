"""Which command a run folder is of: each command's files are overwritten by no other."""

from __future__ import annotations

from pathlib import Path

from tts.errors import RunMismatch
from tts.runs.folder import JOURNAL, PLAN, SOLVED, check_files
from tts.runs.judgements import JUDGED
from tts.runs.problem_files import OUTCOMES, PROBLEMS
from tts.runs.served import served_folders

# The first file that is there decides: a sweep has outcomes, too, and a judge a journal.
MARKS = {JUDGED: "judge", PROBLEMS: "sweep", SOLVED: "solve", PLAN: "plan"}


def command_of(folder: Path) -> str | None:
    """The command that wrote a folder: `serve`, `sweep`, `solve`, `judge`, `plan`, `replay`; None where no file of
    theirs says so: a new folder, or a run that was cut off before there was more than its journal."""
    if served_folders(folder):
        return "serve"
    for name, command in MARKS.items():
        if (folder / name).is_file():
            return command
    return "replay" if (folder / OUTCOMES).is_file() and not (folder / JOURNAL).is_file() else None


def check_command(folder: Path, command: str) -> None:
    """Refuse the folder of another command, whose files this one would overwrite. Raises: RunMismatch; RunError for one
    with a link or a device in it, which are not looked at."""
    check_files(folder)
    held = command_of(folder)
    if held is None and command in ("replay", "plan") and (folder / JOURNAL).is_file():
        held = "solve or judge that was cut off"
    if held not in (None, command):
        raise RunMismatch(
            f"{folder} holds the result of a {held}, some of which a {command} would overwrite; choose another --out",
            path=str(folder),
        )
