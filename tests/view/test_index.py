"""Places in a journal, against a journal that is read whole."""

import random
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.core.actions import Cancelled, Finished, Progressed, problem_of_trial, trial_of
from tts.core.journal.pieces import PieceReader
from tts.core.journal.records import Bounded, Granted, Header, Opened, Record
from tts.errors import RunError
from tts.runs.folder import JOURNAL, Journal, read_records
from tts.types import Completion, Cost
from tts.view.index import JournalIndex

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
problems = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8) | st.sampled_from(
    ['a"b', "a/b", "back\\slash", "new\nline", '{"type":"decided"', "\u2028", "é", "x,"]
)


@st.composite
def histories(draw: st.DrawFn) -> list[list[Record]]:
    """Writes of a journal: trials of some problems, whose samples end whole, in pieces, cancelled, or not at all."""
    writes: list[list[Record]] = []
    for problem in draw(st.lists(problems, min_size=1, max_size=4, unique=True)):
        trial = f"cell#0/{problem}"
        records: list[Record] = [Opened(trial, 0.0)]
        for number, text in enumerate(draw(st.lists(texts, max_size=4)), start=1):
            id = f"{trial}/{number}"
            records.append(Granted(id, "d", Cost(1, 10)))
            records += draw(st.sampled_from([_whole, _watched, _cancelled, _nothing]))(id, text)
            if draw(st.booleans()):
                records.append(Bounded({id: 3}))
        cut = draw(st.integers(0, len(records)))
        writes += [records[:cut], records[cut:]]
    return writes


def _whole(id: str, text: str) -> list[Record]:
    return [Finished(id, 1.0, Completion(text))]


def _watched(id: str, text: str) -> list[Record]:
    middle = len(text) // 2
    pieces = [Progressed(id, 0.5, text[:middle], 0, 3), Progressed(id, 0.6, text[middle:], middle, 5)]
    return [*pieces, Finished(id, 1.0, Completion(text))]


def _cancelled(id: str, text: str) -> list[Record]:
    return [Progressed(id, 0.5, text, 0, 3), Cancelled(id, 1.0, Completion(text, "cancelled"))]


def _nothing(id: str, text: str) -> list[Record]:
    return []


def told(index: JournalIndex, trial: str) -> list[Record]:
    pieces = PieceReader()
    return [pieces.whole(line, number + 1) for number, line in index.of_trial(trial)]


@settings(max_examples=60, deadline=None)
@given(histories())
def test_a_trial_read_by_its_places_is_what_a_whole_read_has_of_it(
    tmp_path_factory: pytest.TempPathFactory, writes: list[list[Record]]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    index = JournalIndex(folder / JOURNAL)
    with Journal(folder, {}) as journal:
        for write in writes:
            journal.write(write)
            index.read_on()
    index.read_on()
    whole = [record for record in read_records(folder / JOURNAL) if not isinstance(record, Header | Bounded)]
    expected: dict[str, list[Record]] = {}
    for record in whole:
        expected.setdefault(record.trial if isinstance(record, Opened) else trial_of(record.id), []).append(record)
    assert index.opened.keys() == expected.keys()
    for trial, records in expected.items():
        assert told(index, trial) == records
    assert index.unreadable is None
    assert index.damage() is None
    assert {problem_of_trial(trial) for trial in index.opened} == {id.partition("/")[2] for id in expected}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with Journal(tmp_path, {}) as journal:
        for i in range(40):
            trial = f"cell#0/p{i}"
            text = "".join(random.Random(i).choices(string.printable, k=200))
            journal.write([Opened(trial, 0.0), Granted(f"{trial}/1", "d", Cost(1, 10)), *_watched(f"{trial}/1", text)])
    yield tmp_path


def test_a_journal_that_grows_byte_by_byte_is_indexed_as_one_that_was_whole(folder: Path, tmp_path: Path) -> None:
    data = (folder / JOURNAL).read_bytes()
    growing = tmp_path / "growing.jsonl"
    index, cuts = JournalIndex(growing), sorted(random.Random(1).sample(range(len(data)), 30))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        with growing.open("ab") as file:
            file.write(data[start:end])
        index.read_on()
    once = JournalIndex(folder / JOURNAL)
    once.read_on()
    assert [told(index, trial) for trial in once.opened] == [told(once, trial) for trial in once.opened]
    assert len(index) == len(once) == data.count(b"\n")


def test_a_journal_in_place_of_another_is_read_anew(folder: Path, tmp_path: Path) -> None:
    index = JournalIndex(folder / JOURNAL)
    index.read_on()
    other = tmp_path / "other"
    with Journal(other, {}) as journal:
        journal.write([Opened("cell#0/new", 0.0)])
    (other / JOURNAL).replace(folder / JOURNAL)
    assert index.read_on()
    assert [*index.opened] == ["cell#0/new"]


def test_a_journal_that_was_cut_is_read_anew(folder: Path) -> None:
    path = folder / JOURNAL
    index = JournalIndex(path)
    index.read_on()
    lines = path.read_bytes().splitlines(keepends=True)
    with path.open("r+b") as file:  # in place
        file.truncate(sum(map(len, lines[:7])))
    assert index.read_on() and len(index) == 7 and index.generation == 2
    assert [*index.raw(range(7))] == lines[:7]


def test_a_line_that_was_changed_is_found_by_its_checksum_and_the_others_are_shown(folder: Path) -> None:
    path = folder / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    lines[10] = lines[10].replace(b'"at_s":0.', b'"at_s":9.', 1)
    lines[20] = b"garbage\n"
    path.write_bytes(b"".join(lines))
    index = JournalIndex(path)
    index.read_on()
    assert index.unreadable == 20
    damage = index.damage()
    assert damage is not None
    assert "line 11 is not as it was written" in damage.message or "line 21" in damage.message
    assert len(index.opened) >= 38


def test_a_journal_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot read"):
        JournalIndex(tmp_path / JOURNAL).read_on()
