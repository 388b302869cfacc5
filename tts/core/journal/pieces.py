"""Watched completions in a journal: their text is in their progress records, and is not written again at their end."""

from __future__ import annotations

from zlib import crc32

import msgspec

from tts.core.actions import Cancelled, Finished, Progressed
from tts.core.journal.records import Line, Record, Rest
from tts.errors import JournalCorrupt


class PieceWriter:
    """Shortens the ends of watched actions by the text that the journal has of them.

    An end is written whole where the text does not begin with those pieces, or where they are of another process.
    """

    def __init__(self) -> None:
        self._so_far: dict[str, tuple[int, int]] = {}  # by action: characters, and their checksum

    def shortened(self, record: Record) -> Line:
        """The record as it is written after those before it."""
        if type(record) is Progressed:
            self._note(record)
        elif self._so_far and isinstance(record, Finished | Cancelled):
            length, checksum = self._so_far.pop(record.id, (0, 0))
            text = record.completion.text
            if length and len(text) >= length and _checksum(text[:length]) == checksum:
                return Rest(_with_text(record, text[length:]), length)
        return record

    def _note(self, piece: Progressed) -> None:
        length, checksum = self._so_far.get(piece.id, (0, 0))
        if piece.offset == 0:  # the first of a try
            length = checksum = 0
        if piece.offset == length:
            self._so_far[piece.id] = length + len(piece.text), _checksum(piece.text, checksum)
        else:
            self._so_far.pop(piece.id, None)


class PieceReader:
    """Puts the ends of watched actions together again."""

    def __init__(self) -> None:
        self._so_far: dict[str, list[Progressed]] = {}

    def whole(self, line: Line, number: int) -> Record:
        """The record of a line, read after those before it. Raises: JournalCorrupt where pieces are missing."""
        if type(line) is Progressed:
            if line.offset == 0:
                self._so_far[line.id] = []
            self._so_far.setdefault(line.id, []).append(line)
            return line
        if not isinstance(line, Rest):
            if self._so_far and isinstance(line, Finished | Cancelled):
                self._so_far.pop(line.id, None)
            return line
        event = line.event
        text = "".join(piece.text for piece in self._so_far.pop(event.id, ()))
        if len(text) != line.after:
            raise JournalCorrupt(
                f"journal line {number} has the end of a text whose first {line.after} characters should stand above, "
                f"but {len(text)} do",
                line=number,
            )
        return _with_text(event, text + event.completion.text)


def _with_text(event: Finished | Cancelled, text: str) -> Finished | Cancelled:
    return msgspec.structs.replace(event, completion=msgspec.structs.replace(event.completion, text=text))


def _checksum(text: str, before: int = 0) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"), before)
