"""Rows of a file of JSON in its usual forms: a value a line, or one array or object; packed with gzip or not; in UTF-8,
or the encoding of a byte order mark. The error for any other kind of file names that kind."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Any

from tts.tasks import file_limits
from tts.tasks.file_limits import Packed, TooLarge, unpacked

_PEEKED = 4096
_MARKS = (  # the longer first: one of UTF-32 begins as one of UTF-16
    *((mark, "utf-32") for mark in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    *((mark, "utf-16") for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)
_OTHERS = (
    (b"\x28\xb5\x2f\xfd", "is packed with zstandard: unpack it (zstd -d)"),
    (b"\xfd7zXZ", "is packed with xz: unpack it (xz -d)"),
    (b"BZh", "is packed with bzip2: unpack it (bzip2 -d)"),
    (b"PK\x03\x04", "is a zip archive or a spreadsheet: write its rows as JSON Lines"),
    (b"PAR1", "is a Parquet file: write its rows as JSON Lines (pandas: to_json(orient='records', lines=True))"),
    (b"ARROW1", "is an Arrow file: write its rows as JSON Lines (pandas: to_json(orient='records', lines=True))"),
    (b"SQLite format 3", "is an SQLite database: write its rows as JSON Lines"),
)


class BadRow(ValueError):
    """A row that cannot be read; `line` counts from 1, and `why` goes on after "line 3"."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line} {why}")
        self.line = line
        self.why = why


class Unusable(ValueError):
    """Raised by a `decode` for JSON that it has read and cannot use; the message goes on after "line 3"."""


class NotRows(ValueError):
    """A file without JSON, or with too much; the message goes on after its name."""


def rows(file: IO[bytes], decode: Callable[[bytes], Any]) -> Iterator[tuple[int, Any]]:
    """Read line number and value of every line that is not blank; of an array, number and value of every item.

    Raises: BadRow; NotRows; OSError, EOFError or zlib.error for gzip that is damaged.
    """
    try:
        yield from _rows(_text(file), decode)
    except TooLarge as error:
        raise NotRows(str(error)) from None


def _rows(lines: IO[bytes], decode: Callable[[bytes], Any]) -> Iterator[tuple[int, Any]]:
    head = _peek(lines).removeprefix(codecs.BOM_UTF8).lstrip()
    if head[:1] == b"[":
        whole = file_limits.whole(lines).removeprefix(codecs.BOM_UTF8)
        try:
            values = decode(whole)
        except (ValueError, RecursionError):
            lines = io.BytesIO(whole)  # to find the line of the error
        else:
            yield from enumerate(values, 1)
            return
    for number, line in enumerate(file_limits.lines(lines), 1):
        plain = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not plain.strip():
            continue
        try:
            value = decode(plain)
        except (ValueError, RecursionError) as error:
            if number > 1 or head[:1] != b"{":
                raise BadRow(number, _why(error, plain)) from None
            rest = file_limits.whole(lines)
            try:
                value = decode(plain + rest)  # one object over many lines
            except (ValueError, RecursionError):
                raise BadRow(number, _why(error, plain)) from None
        yield number, value


def csv_rows(file: IO[bytes], delimiter: str) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Read line number and columns of every row below the first, which names them; an empty cell is None, and a row
    with fewer is refused.

    Raises: BadRow; NotRows.
    """
    text = io.TextIOWrapper(_text(file), "utf-8-sig", newline="")
    reader = csv.DictReader(_lines(text), delimiter=delimiter)
    try:
        twice = next((name for name, count in Counter(reader.fieldnames or ()).items() if name and count > 1), None)
        if twice is not None:
            raise BadRow(1, f"names two columns {twice!r}")
        for row in reader:
            if None in row:
                raise BadRow(reader.line_num, f"has more cells than the first line, which has {len(row) - 1}")
            cells = sum(cell is not None for cell in row.values())
            if cells < len(row):
                raise BadRow(
                    reader.line_num,
                    f"has {cells} cells, and the first line has {len(row)}: an unknown cell is left empty, "
                    f"with its {delimiter!r} before it",
                )
            yield reader.line_num, {name: cell or None for name, cell in row.items()}
    except UnicodeDecodeError as error:
        raise BadRow(reader.line_num + 1, _why(error, b"")) from None
    except csv.Error as error:
        raise BadRow(reader.line_num, f"is not CSV: {error}") from None
    except TooLarge as error:
        raise NotRows(str(error)) from None
    finally:
        text.detach()  # the file is its owner's to close


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    number = 0
    while line := text.readline(file_limits.MOST_LINE_BYTES):
        number += 1
        if len(line) == file_limits.MOST_LINE_BYTES:
            raise TooLarge(file_limits.long_line(number))
        yield line


def _text(file: IO[bytes]) -> IO[bytes]:
    """The file in UTF-8, unpacked. Raises: NotRows; TooLarge."""
    packed: Packed | None = None
    for _ in range(file_limits.MOST_LAYERS):
        if not _is_gzip(file):
            return _in_utf8(file)
        source: Any = file
        if packed is None:
            source = packed = Packed(file)
        file = unpacked(source, packed)
    if _is_gzip(file):
        raise NotRows(f"is packed with gzip more than {file_limits.MOST_LAYERS} times: unpack it (gzip -d)")
    return _in_utf8(file)


def _is_gzip(file: IO[bytes]) -> bool:
    return _peek(file)[:2] == b"\x1f\x8b"  # gzip's magic number, whatever the file's name


def _in_utf8(file: IO[bytes]) -> IO[bytes]:
    head = _peek(file)
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise NotRows(what)
    found = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)
    encoding = found or json.detect_encoding(head[:4])  # of a file without a mark, by its zeros
    if encoding.startswith("utf-8"):
        return file
    try:
        return io.BytesIO(file_limits.whole(file).decode(encoding).encode())
    except UnicodeError as error:
        raise NotRows(f"is not {encoding.upper()}, as its first bytes say: {error}") from None


def _peek(file: Any) -> bytes:
    """The first bytes, left in the file."""
    if isinstance(file, io.BytesIO):
        return file.getbuffer()[:_PEEKED].tobytes()
    return bytes(file.peek(_PEEKED)[:_PEEKED])


def _why(error: Exception, line: bytes) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8: {error.reason} at byte {error.start}"
    if isinstance(error, Unusable):
        return str(error)
    if isinstance(error, RecursionError):
        return "is not JSON: it is nested too deeply"
    said = str(error)
    if isinstance(error, json.JSONDecodeError):
        cut = error.pos >= len(error.doc.rstrip())
        said = f"it ends too early: {error.msg}" if cut else f"{error.msg} at column {error.colno}"
    sign = next((sign for sign in "\t,;" if sign.encode() in line), None)
    if line.lstrip()[:1] in (b"{", b"[") or sign is None:
        return f"is not JSON: {said}"
    shown = line[:60].decode("utf-8", "replace").strip()
    return f"is not JSON, but looks like CSV ({shown}): write one JSON object a line"
