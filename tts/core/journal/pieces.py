"""Watched completions in a journal: their text is in their progress records, and is not written again at their end;
progress records after the first of a try have what is new alone."""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import msgspec

from tts.core.actions import Cancelled, Finished, Progressed
from tts.core.journal.records import Line, Piece, Record, Rest
from tts.errors import JournalCorrupt


class _Written(NamedTuple):
    """What a journal has of a try: the line of its first piece, characters, their checksum, tokens."""

    first: int
    length: int
    checksum: int
    tokens: int


class PieceWriter:
    """Shortens the progress of watched actions, and their ends by the text that the journal has of them.

    A piece is written whole where it does not go on after the one before it, an end where the text does not begin with
    those pieces, or where they are of another process.
    """

    def __init__(self) -> None:
        self._so_far: dict[str, _Written] = {}  # by action

    def shortened(self, record: Record, number: int) -> Line:
        """The record as it is written after those before it, in the line of this number."""
        if type(record) is Progressed:
            return self._piece(record, number)
        if self._so_far and isinstance(record, Finished | Cancelled):
            known = self._so_far.pop(record.id, None)
            text = record.completion.text
            if known and known.length and _checksum(text[: known.length]) == known.checksum:
                return Rest(_with_text(record, text[known.length :]), known.length)
        return record

    def _piece(self, piece: Progressed, number: int) -> Line:
        id, text, tokens = piece.id, piece.text, piece.tokens
        if piece.offset == 0:  # the first of a try
            self._so_far[id] = _Written(number, len(text), _checksum(text), tokens)
            return piece
        known = self._so_far.get(id)
        if known is None or piece.offset != known.length:
            self._so_far.pop(id, None)
            return piece
        first, length, checksum, before = known
        self._so_far[id] = _Written(first, length + len(text), _checksum(text, checksum), tokens)
        return Piece(first, piece.at_s, text, tokens - before, piece.mean_logprob, piece.confidence)


class PieceReader:
    """Puts the pieces and the ends of watched actions together again."""

    def __init__(self) -> None:
        self._so_far: dict[str, list[Progressed]] = {}
        self._ids: dict[int, str] = {}  # by the line of a try's first piece

    def whole(self, line: Line, number: int) -> Record:
        """The record of a line, read after those before it. Raises: JournalCorrupt where pieces are missing."""
        if type(line) is Piece:
            line = self._progressed(line, number)
        if type(line) is Progressed:
            if line.offset == 0:
                self._so_far[line.id] = []
                self._ids[number] = line.id
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

    def _progressed(self, piece: Piece, number: int) -> Progressed:
        id = self._ids.get(piece.first, "")
        before = self._so_far.get(id)
        if not before:
            raise JournalCorrupt(
                f"journal line {number} goes on with a text that should begin in line {piece.first}, which has none",
                line=number,
            )
        last = before[-1]
        offset, tokens = last.offset + len(last.text), last.tokens + piece.tokens
        return Progressed(id, piece.at_s, piece.text, offset, tokens, piece.mean_logprob, piece.confidence)


def _with_text(event: Finished | Cancelled, text: str) -> Finished | Cancelled:
    return msgspec.structs.replace(event, completion=msgspec.structs.replace(event.completion, text=text))


def _checksum(text: str, before: int = 0) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"), before)
