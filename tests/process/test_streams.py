"""Standard streams that are closed, narrow, full, or read by nobody: none of them ends in a traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable

import pytest

PREPARED = "import sys; from tts.process.streams import prepare; prepare(); "


def python(
    program: str, *, closed: Iterable[int] = (), encoding: str = "utf-8", out: int | None = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    return subprocess.run(
        [sys.executable, "-c", program],
        stdout=out,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        preexec_fn=close,
        check=False,
    )


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1), (0, 1, 2)])
def test_with_streams_closed_no_file_gets_their_numbers_and_an_event_loop_runs(closed: tuple[int, ...]) -> None:
    ran = python(
        PREPARED + "from tts.api.sync import run_on_loop; import asyncio, os; "
        "assert os.open('/dev/zero', os.O_RDONLY) > 2; run_on_loop(asyncio.sleep(0)); "
        "print('said'); print('said', file=sys.stderr); assert sys.stdin.read() == '' or 0 not in " + repr(closed),
        closed=closed,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("encoding", "seen"), [("ascii", b"45-67 x e ? ?"), ("latin-1", b"45-67 \xd7 \xe9 ? ?"), ("utf-8", None)]
)
def test_signs_that_an_encoding_lacks_are_printed_as_something_plain(encoding: str, seen: bytes | None) -> None:
    ran = python(PREPARED + "print('45\\u201367 \\u00d7 \\u00e9 \\u6f22 \\ud83d')", encoding=encoding)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == (seen or "45\N{EN DASH}67 \N{MULTIPLICATION SIGN} é 漢 ?".encode())


def test_a_reader_that_has_left_ends_the_program_without_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = python(PREPARED + "print('x' * 100_000); sys.stdout.flush(); print('never', file=sys.stderr)", out=writer)
    os.close(writer)
    assert ran.returncode == 128 + signal.SIGPIPE
    assert ran.stderr == b""


def test_messages_that_nobody_reads_any_more_stop_nothing() -> None:
    ran = python(
        PREPARED + "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 2); "
        "print('lost', file=sys.stderr, flush=True); print('lost', file=sys.stderr); print('done')"
    )
    assert (ran.returncode, ran.stdout) == (0, b"done\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")
def test_a_full_disk_behind_standard_output_gets_a_sentence() -> None:
    with open("/dev/full", "wb") as full:
        ran = python(PREPARED + "print('x'); sys.stdout.flush()", out=full.fileno())
    assert ran.returncode == 1
    assert b"cannot write to standard output: No space left" in ran.stderr
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_command_line_is_imported_says_nothing(number: int) -> None:
    program = (
        "import builtins, os, signal, sys; real = builtins.__import__\n"
        "def imports(name, *a, **k):\n"
        f"    if name == 'typer': os.kill(os.getpid(), {number})\n"
        "    return real(name, *a, **k)\n"
        "builtins.__import__ = imports; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import tts.__main__; tts.__main__.main()"
    )
    ran = python(program)
    assert (ran.returncode, ran.stderr) == (130, b"")


def test_sigterm_outside_of_an_event_loop_is_an_interrupt() -> None:
    program = (
        "import os, signal, tts.cli.main, tts.__main__; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "tts.cli.main.main = lambda: os.kill(os.getpid(), signal.SIGTERM); tts.__main__.main()"
    )
    ran = python(program)
    assert (ran.returncode, ran.stderr) == (130, b"")


def test_sigterm_while_a_loop_runs_cancels_what_it_runs_as_ctrl_c_does() -> None:
    program = (
        "import asyncio, os, signal, tts.cli.main, tts.__main__\n"
        "async def work():\n"
        "    asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)\n"
        "    try: await asyncio.sleep(60)\n"
        "    except asyncio.CancelledError: print('closed'); raise\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "tts.cli.main.app = lambda arguments: asyncio.run(work()); tts.__main__.main()"
    )
    ran = python(program)
    assert (ran.returncode, ran.stdout) == (130, b"closed\n")
