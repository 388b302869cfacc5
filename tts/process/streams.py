"""The standard streams of this process: closed ones, narrow encodings, and readers that have left.

`tts sweep ... | head`, a daemon without streams, a terminal in ASCII: none of them may cost a run that was paid for.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import sys
import unicodedata
from typing import NoReturn

BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell shows it of programs that do not catch it
_ENCODING_ERRORS = "tts-plain"
# Control characters but a line's end and a tab; the marks that turn the direction of writing, which hide or reorder
# text; and characters that XML cannot hold, on which drawing a picture ends the process.
_CONTROL = re.compile("(?!\r\n)[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_PLAIN = {"\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{MINUS SIGN}": "-", "\N{MULTIPLICATION SIGN}": "x"}
_PLAIN |= {"\N{HORIZONTAL ELLIPSIS}": "...", "\N{BULLET}": "*", "\N{MIDDLE DOT}": "*", "\N{GREEK SMALL LETTER MU}": "u"}


def visible(text: str) -> str:
    """Write out a text's control characters (`\\x1b`), so that text of a model, a server, a problem or a folder does
    not move a terminal's cursor, set its title or clipboard, or hide other text."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def echo(text: str, *, err: bool = False) -> None:
    """Print a line to standard output, or to standard error, which is seen at once, as `visible` writes it."""
    print(visible(text), file=sys.stderr if err else sys.stdout, flush=err)


def open_closed_streams() -> None:
    """Open the null device where standard input, output or error is closed. Otherwise the next file or socket gets its
    number: libuv then aborts the process, and the output of a child process ends up in a journal."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)


def prepare() -> None:
    """Prepare the streams of a command line: they exist, print plain signs for those that their encoding lacks, and do
    not fail when their reader has left."""
    open_closed_streams()
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  # it stays open as long as the process
    for name, kind, descriptor in (("stdout", _Output, 1), ("stderr", _Messages, 2)):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(descriptor, "w", closefd=False)  # noqa: SIM115  # likewise
        elif stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue  # a test's, or a notebook's: not to be replaced
        ours = _replaced(stream, kind)
        setattr(sys, name, ours)
        setattr(sys, f"__{name}__", ours)


def _replaced(stream: io.TextIOWrapper, kind: type[io.TextIOWrapper]) -> io.TextIOWrapper:
    encoding, buffering = stream.encoding, stream.line_buffering
    return kind(stream.detach(), encoding=encoding, errors=_ENCODING_ERRORS, line_buffering=buffering)


class _Output(io.TextIOWrapper):
    """An output that ends the program quietly when its reader has left, and with a sentence when the disk is full."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> NoReturn:
        _discard(self)
        if isinstance(error, BrokenPipeError):
            raise SystemExit(BROKEN_PIPE) from None
        sys.stderr.write(f"tts: cannot write to standard output: {error.strerror}\n")
        raise SystemExit(1) from None


class _Messages(io.TextIOWrapper):
    """An output that drops messages when its reader has left: progress and notes are no reason to stop a run."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            _discard(self)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _discard(self)


def _discard(stream: io.TextIOWrapper) -> None:
    """Discard the text that is still buffered, and all that follows."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Replace signs that an encoding lacks by similar ones: an accent is dropped, the rest is a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_sign(character, error.encoding) for character in lacking), error.end


def _sign(character: str, encoding: str) -> str:
    if (known := _PLAIN.get(character)) is not None:
        return known
    bare = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    try:
        bare.encode(encoding)
    except UnicodeError:
        return "?"
    return bare or "?"


codecs.register_error(_ENCODING_ERRORS, _plain)
