"""Programs, which models may have written, in processes of their own within a worker. THIS IS NO SANDBOX: a program can
read, change and send whatever the worker's user can. The limits end programs that hang or grow.

Each run has a fresh folder, no environment but a path, the worker's limit of memory, and limits of CPU time, of the
size of a file and of the number of open ones. What a run leaves behind is killed.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tts.workers.child import die_with
from tts.workers.reaper import MARKS

MOST_OUTPUT = 1 << 16  # bytes of each stream that are kept
_MOST_FILE = 1 << 26
_MOST_OPEN = 64
WAITING_S = 10.0  # of wall-clock time that a program may take beyond four times its CPU time, because it waits


def executed(
    program: str, stdin: str, tests: Sequence[Any], timeout_s: float, waiting_s: float = WAITING_S
) -> dict[str, Any]:
    """Run a Python program: alone, or once a test; the fields of `tts.types.Executed`.

    Args:
        stdin: of each run that has none of its own.
        tests: a text is code that runs after the program, in the same process; a pair is an input and the output that
            is expected of it.
        timeout_s: CPU time of each run, in whole seconds, rounded up.
        waiting_s: wall-clock time that each run may take beyond four times that.
    """
    if not tests:
        found, _ = _run(program, stdin, timeout_s, waiting_s)
        return found
    passed: list[bool | None] = []
    shown: dict[str, Any] | None = None
    for test in tests:
        code, given, expected = (f"{program}\n{test}", stdin, None) if isinstance(test, str) else (program, *test)
        found, unknown = _run(code, given, timeout_s, waiting_s)
        verdict = found["exit_status"] == 0 and (expected is None or _lines(found["stdout"]) == _lines(expected))
        passed.append(None if unknown else verdict)
        if shown is None or all(passed[:-1]):
            shown = found
    assert shown is not None
    return {**shown, "passed": passed}


def _run(program: str, stdin: str, timeout_s: float, waiting_s: float) -> tuple[dict[str, Any], bool]:
    """One run: its fields, and whether wall-clock time has ended it, which says nothing of the program."""
    seconds, parent = math.ceil(timeout_s), os.getpid()

    def limit() -> None:
        die_with(parent)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_FILE, _MOST_FILE))
        resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_OPEN, _MOST_OPEN))

    with tempfile.TemporaryDirectory(prefix="tts-program-") as folder, tempfile.TemporaryFile() as given:
        path = Path(folder, "program.py")
        path.write_text(program, encoding="utf-8", errors="backslashreplace")
        given.write(stdin.encode("utf-8", "backslashreplace"))
        given.seek(0)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(
                [sys.executable, "-I", str(path)],
                stdin=given,
                stdout=out,
                stderr=err,
                cwd=folder,
                env={"PATH": os.defpath, "HOME": folder, MARKS: os.environ.get(MARKS, "")},
                preexec_fn=limit,  # noqa: PLW1509  # a worker has one thread
                process_group=0,
            )
            late = False
            try:
                process.wait(4 * timeout_s + waiting_s)
            except subprocess.TimeoutExpired:
                late = True
            finally:
                _kill_group(process)
            status = process.wait()
            cpu = status in (-signal.SIGXCPU, -signal.SIGKILL) and not late
            limit_of = "wall-clock time" if late else "CPU time" if cpu else ""
            shown = {"stdout": _text_in(out), "stderr": _text_in(err)}
            return {"exit_status": None if limit_of else status, "ended_by": limit_of, **shown}, late


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _text_in(file: Any) -> str:
    file.seek(0)
    text: str = file.read(MOST_OUTPUT).decode("utf-8", "replace")
    return text


def _lines(text: str) -> list[str]:
    """Lines to compare: spaces at their ends, and empty lines at the end, count for nothing."""
    return [line.rstrip() for line in text.rstrip().splitlines()]
