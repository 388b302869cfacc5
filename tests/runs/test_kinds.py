"""A folder is of one command: no other overwrites its files."""

from collections.abc import Callable
from pathlib import Path

import pytest

import tts
from tts import Completion, Request, Usage
from tts.errors import RunMismatch
from tts.runs.folder import JOURNAL, SOLVED
from tts.runs.kinds import MARKS, check_command, command_of
from tts.runs.problem_files import OUTCOMES

COMMANDS = ["sweep", "solve", "judge", "plan", "replay"]


async def model(request: Request) -> Completion:
    return Completion("Answer: 4", usage=Usage(3, 5))


def solved(out: Path) -> object:
    return tts.solve("What is 2 + 2?", "single", model=model, out=out)


def swept(out: Path) -> object:
    return tts.sweep("arithmetic?size=1", "single", model=model, out=out, report=False)


def replayed(out: Path) -> object:
    return tts.replay("example", "single", out=out, report=False)


def judged(out: Path) -> object:
    return tts.judge("example", "genrm", samples=1, limit=1, model=model, out=out)


@pytest.mark.parametrize("first", [solved, swept, replayed])
def test_the_folder_of_one_command_is_refused_to_all_others_and_stays_as_it_was(
    first: Callable[[Path], object], tmp_path: Path
) -> None:
    first(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    others: list[Callable[[Path], object]] = [solved, swept, replayed, judged]
    for other in others:
        if other is not first:
            with pytest.raises(RunMismatch, match="choose another --out"):
                other(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    first(tmp_path)  # its own command goes on


def test_a_solve_that_was_cut_off_is_no_folder_for_a_judge_or_a_replay(tmp_path: Path) -> None:
    solved(tmp_path)
    (tmp_path / SOLVED).unlink()
    for other in (judged, replayed):
        with pytest.raises(RunMismatch, match="choose another --out"):
            other(tmp_path)


@pytest.mark.parametrize("mark", [*MARKS, OUTCOMES])
def test_each_mark_is_of_one_command(mark: str, tmp_path: Path) -> None:
    (tmp_path / mark).touch()
    held = command_of(tmp_path)
    for command in COMMANDS:
        if command == held:
            check_command(tmp_path, command)
        else:
            with pytest.raises(RunMismatch, match=f"holds the result of a {held}"):
                check_command(tmp_path, command)


def test_a_journal_alone_may_be_of_any_command_that_writes_one(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).touch()
    assert command_of(tmp_path) is None
    for command in ("sweep", "solve", "judge"):
        check_command(tmp_path, command)
