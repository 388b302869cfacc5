"""Limits of reading files from other people: of a line, of a value in one piece, of packed data.

A line is one sample, one problem or one record, and a file of JSON in one piece is a log: those are far below these
limits. Data beyond a limit are refused before they fill the memory.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

MOST_LINE_BYTES = 256 << 20
MOST_WHOLE_BYTES = 1 << 30  # of data decoded in one piece: an array, an object over many lines, an archive's entry
MOST_RATIO = 200  # of unpacked bytes to packed ones, beyond MOST_WHOLE_BYTES: text has 3 to 20, zeros have 1,030
GZIP_FROM_BYTES = 64 << 20  # from which on the ratio counts for gzip: a thousand million blank lines take minutes
MOST_LAYERS = 2  # of gzip in gzip

_MIB = 1 << 20


class TooLarge(ValueError):
    """A file beyond the limits of reading; the message goes on after its name."""


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """Read lines, with their ends. Raises: TooLarge for one beyond `MOST_LINE_BYTES`."""
    number = 0
    while line := file.readline(MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > MOST_LINE_BYTES:
            raise TooLarge(long_line(number))
        yield line


def long_line(number: int) -> str:
    """The message on a line beyond the limit."""
    advice = f"cut it to the lines before (head -n {number - 1})" if number > 1 else "is it the file that was meant?"
    return f"has more than {MOST_LINE_BYTES // _MIB} MiB in line {number}, and no longer line is read: {advice}"


def whole(file: IO[bytes]) -> bytes:
    """Read the rest of a file. Raises: TooLarge beyond `MOST_WHOLE_BYTES`."""
    data = file.read(MOST_WHOLE_BYTES + 1)
    if len(data) > MOST_WHOLE_BYTES:
        raise TooLarge(
            f"has more than {MOST_WHOLE_BYTES // _MIB} MiB in one piece, and no more is read so: give a smaller file, "
            f"or one JSON object a line where that is possible"
        )
    return data


def read_whole(path: Path) -> bytes:
    """The bytes of a file. Raises: OSError; TooLarge."""
    with path.open("rb") as file:
        return whole(file)


def check_entry(name: str, size: int) -> None:
    """Check the size of an archive's entry. Raises: TooLarge."""
    if size > MOST_WHOLE_BYTES:
        raise TooLarge(
            f"has {size / _MIB:,.0f} MiB in {name}, and no more than {MOST_WHOLE_BYTES // _MIB} MiB of an entry "
            f"are read: look at it, and leave it out"
        )


def check_ratio(unpacked: int, packed: int, beyond: int | None = None) -> None:
    """Check unpacked bytes against packed ones. Raises: TooLarge for an absurd ratio; `beyond`: None:
    MOST_WHOLE_BYTES."""
    beyond = MOST_WHOLE_BYTES if beyond is None else beyond
    if unpacked > beyond and unpacked > MOST_RATIO * packed:
        raise TooLarge(
            f"unpacks to at least {unpacked // _MIB:,} MiB, which is {unpacked // max(1, packed):,} times its "
            f"{packed:,} bytes, and beyond {beyond // _MIB} MiB no more than {MOST_RATIO} times is read: "
            f"unpack it with another program, look at it, and give what it holds"
        )


class Packed:
    """A file that counts the bytes read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.bytes += len(data)
        return data


def unpacked(file: Any, packed: Packed) -> IO[bytes]:
    """Unpack a gzip file. `packed`: the file on the disk, which it is, or is packed in.

    Raises, in reading: TooLarge as `check_ratio`; OSError, EOFError or zlib.error where it is damaged.
    """
    return io.BufferedReader(_Unpacked(file, packed), 1 << 17)


class _Unpacked(io.RawIOBase):
    def __init__(self, file: Any, packed: Packed) -> None:
        self._gzip = gzip.GzipFile(fileobj=file, mode="rb")
        self._packed = packed
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = self._gzip.readinto(buffer)
        self._bytes += read
        check_ratio(self._bytes, self._packed.bytes, GZIP_FROM_BYTES)
        return read
