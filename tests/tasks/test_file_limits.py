"""What somebody sent is read within limits of size: the file, what was seen, the limit and what to do are named."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.core.journal.records import Opened
from tts.errors import BadPool, BadProblem, JournalCorrupt, RunError
from tts.pools.formats.imports import import_pool
from tts.pools.parquet import read_pool
from tts.runs.folder import JOURNAL, Journal, read_history
from tts.runs.problem_files import OUTCOMES, PROBLEMS, read_examples, taken_away
from tts.tasks import file_limits
from tts.tasks.file_limits import TooLarge
from tts.tasks.sources import load

MIB = 1 << 20
CONFIG = {"model": "m"}
ZEROS = bytes(3 * MIB)


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are those of the product in their kinds, and smaller, so that a test reads little."""
    monkeypatch.setattr(file_limits, "MOST_LINE_BYTES", MIB)
    monkeypatch.setattr(file_limits, "MOST_WHOLE_BYTES", 2 * MIB)
    monkeypatch.setattr(file_limits, "GZIP_FROM_BYTES", 2 * MIB)


def in_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


JSON_ARRAY = b"[" + b" " * 3 * MIB + b"]"
ONE_OBJECT = b'{\n"question":' + b" \n" * 2 * MIB + b'"1+1?"}'
FILES: dict[str, tuple[str, bytes, str]] = {
    "a line without end": ("p.jsonl", b"\n" + b"x" * 3 * MIB, "more than 1 MiB in line 2.*head -n 1"),
    "one line without end": ("p.jsonl", b"x" * 3 * MIB, "more than 1 MiB in line 1.*meant"),
    "nothing but zeros": ("p.jsonl", ZEROS, "more than 2 MiB in one piece"),  # they look like UTF-32
    "a line without end in a table": ("p.csv", b"question,answer\n1+1?," + ZEROS, "more than 1 MiB in line 2"),
    "an array": ("p.json", JSON_ARRAY, "more than 2 MiB in one piece"),
    "an object over many lines": ("p.json", ONE_OBJECT, "more than 2 MiB in one piece"),
    "UTF-16": ("p.jsonl", ("{}\n" * MIB).encode("utf-16"), "more than 2 MiB in one piece"),
    "blank lines in gzip": ("p.jsonl.gz", gzip.compress(b"\n" * 3 * MIB), "unpacks to at least 2 MiB, .* times its"),
    "gzip in gzip": ("p.jsonl", gzip.compress(gzip.compress(b"\n" * 3 * MIB)), "unpacks to at least 2 MiB"),
    "gzip without end": ("p.jsonl", gzip.compress(gzip.compress(gzip.compress(b"{}"))), "gzip more than 2 times"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("read", "error"), [(load, BadProblem), (lambda path: import_pool([path]), BadPool)])
def test_a_file_of_rows_is_read_within_the_limits(
    tmp_path: Path, name: str, read: Callable[[Any], object], error: type[Exception]
) -> None:
    called, content, words = FILES[name]
    if error is BadPool and called == "p.csv":
        pytest.skip("a pool is no table")
    path = tmp_path / called
    path.write_bytes(content)
    with pytest.raises(error, match=rf"{called}.* {words}"):
        read(str(path) if read is load else path)


def test_what_packs_well_is_read_below_the_limit_and_beyond_it_what_packs_as_text_does(tmp_path: Path) -> None:
    same, other = b'{"question": "1+1?", "answer": 2}\n', b'{"question": "%d", "answer": 2}\n'
    (tmp_path / "same.gz").write_bytes(gzip.compress(same * 3000))
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"".join(other % (i * i) for i in range(70_000))))
    assert len(load(str(tmp_path / "same.gz"), limit=2000).examples) == 2000
    assert len(load(str(tmp_path / "other.gz")).examples) == 70_000  # 2.4 MB out of 0.3


BOMBS: dict[str, tuple[dict[str, bytes], str]] = {
    "an entry": ({"header.json": b"1" * (2 * MIB + 1)}, "2 MiB in header.json"),
    "many entries": (
        {f"samples/{i}_epoch_1.json": bytes(MIB) for i in range(3)},
        "unpacks to at least 3 MiB, which is",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_log_of_inspect_unpacks_to_no_more_than_a_log_does(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, words = BOMBS[name]
    if name == "an entry":
        monkeypatch.setattr(file_limits, "MOST_RATIO", 10_000)
    path = in_zip(tmp_path / "x.eval", {"header.json": json.dumps({"eval": {}}).encode(), **files})
    with pytest.raises(BadPool, match=rf"x\.eval .*{words}"):
        import_pool([path])


def test_a_log_in_json_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'{\n"eval": {},' + b" " * 3 * MIB + b'"samples": []}')
    with pytest.raises(BadPool, match=r"x\.json has more than 2 MiB in one piece"):
        import_pool([path])


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_zeros_behind_a_journal_are_refused_and_left_there_where_no_torn_line_is_so_long(
    tmp_path: Path, end: bytes
) -> None:
    with Journal(tmp_path, CONFIG) as journal:
        journal.write([Opened("c/p", 0.0)])
    path = tmp_path / JOURNAL
    before = path.read_bytes()
    path.write_bytes(before + ZEROS + end)
    for read in (read_history, lambda path: Journal(path.parent, CONFIG)):
        with pytest.raises(JournalCorrupt, match=r"journal\.jsonl has more than 1 MiB in line 3.*head -n 2"):
            read(path)
    assert path.read_bytes() == before + ZEROS + end
    path.write_bytes(before + bytes(MIB))
    with Journal(tmp_path, CONFIG) as journal:
        assert journal.torn == MIB
    assert path.read_bytes() == before


@given(st.lists(st.binary(max_size=40)), st.binary(max_size=4000))
def test_lines_are_those_of_the_file(some: list[bytes], last: bytes) -> None:
    data = b"\n".join([*some, last])
    assert [*file_limits.lines(io.BytesIO(data))] == [*io.BytesIO(data)]


@pytest.mark.parametrize(
    ("name", "read", "error"),
    [
        (PROBLEMS, read_examples, BadProblem),
        (OUTCOMES, taken_away, RunError),
    ],
)
def test_every_file_of_a_run_folder_is_read_up_to_the_limit(
    tmp_path: Path, name: str, read: Callable[[Path], object], error: type[Exception]
) -> None:
    (tmp_path / name).write_bytes(ZEROS)
    with pytest.raises(error, match=rf"{name}.* has more than 2 MiB in one piece"):
        read(tmp_path)
    assert (tmp_path / name).read_bytes() == ZEROS


def test_a_pool_of_more_rows_than_its_bytes_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_limits, "MOST_RATIO", 20)
    arrow = pytest.importorskip("pyarrow", reason="Parquet takes the extra `pool`")
    from pyarrow import parquet

    names = ["benchmark", "model", "problem_id", "answer", "finish_reason", "error", "prompt_tokens", "seconds"]
    names += ["completion_tokens", "reasoning_tokens", "sample", "correct"]
    zeros = arrow.nulls(2 * MIB, arrow.int32())
    about = {b"tts.pool": json.dumps({"version": 1, "name": "x"}).encode()}
    table = arrow.table(dict.fromkeys(names, zeros)).replace_schema_metadata(about)
    parquet.write_table(table, tmp_path / "x.parquet", compression="zstd")
    with pytest.raises(BadPool, match=r"x\.parquet unpacks to at least 8 MiB"):
        read_pool(tmp_path / "x.parquet")


def test_a_line_of_just_the_limit_is_read() -> None:
    assert len(next(file_limits.lines(io.BytesIO(bytes(MIB))))) == MIB
    with pytest.raises(TooLarge):
        next(file_limits.lines(io.BytesIO(bytes(MIB + 1))))
