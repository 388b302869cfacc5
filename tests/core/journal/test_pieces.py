"""Watched completions: their text is in the journal once, and read back as it was."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.core.actions import Cancelled, Failed, Finished, Progressed
from tts.core.journal.pieces import PieceReader, PieceWriter
from tts.core.journal.records import ChecksumChain, Piece, Record, Rest, decode, encode
from tts.errors import InvalidParameter, JournalCorrupt
from tts.runs.folder import JOURNAL, Journal, read_records
from tts.types import Completion, ErrorInfo, Usage

CONFIG = {"strategies": ["watching"]}
texts = st.text("abé😀", max_size=4)


@st.composite
def told(draw: st.DrawFn) -> list[Record]:
    """Events of three actions, in any order: tries that begin again, pieces told twice or lost, every kind of end."""
    records: list[Record] = []
    whole = dict.fromkeys("xyz", "")
    for number in range(draw(st.integers(0, 25))):
        id, text = draw(st.sampled_from("xyz")), draw(texts)
        match draw(
            st.sampled_from(["next", "next", "next", "again", "anew", "lost", "finished", "cancelled", "failed"])
        ):
            case "next":
                records.append(Progressed(id, float(number), text, len(whole[id]), number))
                whole[id] += text
            case "again" if records:
                records.append(draw(st.sampled_from([r for r in records if isinstance(r, Progressed)] or records)))
            case "anew":
                records.append(Progressed(id, float(number), text, 0, 1))
                whole[id] = text
            case "lost":
                whole[id] += text
            case "finished":
                records.append(Finished(id, float(number), Completion(whole[id] + text)))
            case "cancelled":
                completion = Completion(draw(st.sampled_from([whole[id], whole[id][:-1], text])), "cancelled")
                records.append(Cancelled(id, float(number), completion))
            case "failed":
                records.append(Failed(id, float(number), ErrorInfo("ServerFailed", "no")))
    return records


@given(told(), st.integers(0, 25))
def test_whatever_is_told_is_read_back_as_it_was_also_by_a_run_that_was_killed(records: list[Record], cut: int) -> None:
    reader, read, number = PieceReader(), [], 0
    for session in (records[:cut], records[cut:]):
        writer = PieceWriter()
        for record in session:
            number += 1
            read.append(reader.whole(decode(encode(writer.shortened(record, number)), number), number))
    assert read == records


def test_the_end_of_a_watched_action_has_the_rest_of_its_text_alone() -> None:
    writer = PieceWriter()
    pieces = [Progressed("x", 1.0, "one ", 0, 1), Progressed("x", 2.0, "two ", 4, 2)]
    assert [writer.shortened(piece, 7) for piece in pieces] == [pieces[0], Piece(7, 2.0, "two ", 1, None, None)]
    end = writer.shortened(Finished("x", 3.0, Completion("one two three", usage=Usage(5, 3))), 9)
    assert end == Rest(Finished("x", 3.0, Completion("three", usage=Usage(5, 3))), 8)


def test_an_end_without_its_pieces_is_refused_by_the_number_of_its_line() -> None:
    reader = PieceReader()
    with pytest.raises(JournalCorrupt, match="line 7 has the end of a text whose first 8 characters should"):
        reader.whole(Rest(Finished("x", 3.0, Completion("three")), 8), 7)


def test_a_piece_without_the_first_of_its_try_is_refused_by_the_number_of_its_line() -> None:
    reader = PieceReader()
    reader.whole(Progressed("x", 1.0, "one ", 0, 1), 5)
    with pytest.raises(JournalCorrupt, match="line 7 goes on with a text that should begin in line 4, which has none"):
        reader.whole(Piece(4, 2.0, "two ", 1, None, None), 7)


def test_a_further_piece_takes_few_bytes_beside_its_text_and_is_covered_by_the_checksum() -> None:
    writer, chain, id = PieceWriter(), ChecksumChain(), "majority_vote:n=16#0/problem-1234/7"
    pieces = [Progressed(id, 1234.567891, "one " * 16, 64 * i, 16 * i, -0.412345, 12.345678) for i in range(3)]
    lines = [chain.written(writer.shortened(piece, number)) for number, piece in enumerate(pieces, 1)]
    assert [len(line) - 64 < 80 for line in lines] == [False, True, True]
    reader = ChecksumChain()
    reader.read(lines[0])
    with pytest.raises(JournalCorrupt, match="line 2 is not as it was written"):
        reader.read(lines[1].replace(b"one", b"two", 1))


def test_a_run_folder_gives_back_the_whole(tmp_path: Path) -> None:
    records: list[Record] = [
        Progressed("c/p/1", 1.0, "one ", 0, 1),
        Progressed("c/p/1", 2.0, "two ", 4, 2),
        Finished("c/p/1", 3.0, Completion("one two three")),
    ]
    journal = Journal(tmp_path, CONFIG)
    journal.write(records[:1])
    with pytest.raises(InvalidParameter):
        journal.write([records[1], Finished("c/p/2", 3.0, Completion("\ud800"))])
    journal.write(records[1:])
    journal.close()
    assert list(read_records(tmp_path / JOURNAL))[1:] == records
    assert (tmp_path / JOURNAL).read_text().count("two") == 2  # what was not written is not taken for written
