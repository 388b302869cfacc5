"""Files of rows as people have them: problem files and pools are read by one reader."""

import bz2
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.errors import BadPool, BadProblem
from tts.pools.formats.imports import import_pool
from tts.pools.formats.rows import decoded
from tts.tasks.row_reader import BadRow, rows
from tts.tasks.sources import load

QUESTIONS = [{"question": "How many legs has a flea?", "answer": "6"}, {"question": "And ½ of it – en français: où?"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in QUESTIONS)
FORMS: dict[str, bytes] = {
    "lines": LINES.encode(),
    "a mark of UTF-8": b"\xef\xbb\xbf" + LINES.encode(),
    "Windows' line ends": LINES.replace("\n", "\r\n").encode(),
    "blank lines": b"\n \n" + LINES.encode() + b"\n",
    "UTF-16": LINES.encode("utf-16"),
    "UTF-16 without a mark": LINES.encode("utf-16-le"),
    "UTF-32": LINES.encode("utf-32"),
    "gzip": gzip.compress(LINES.encode()),
    "gzip around UTF-16": gzip.compress(LINES.encode("utf-16")),
    "an array": json.dumps(QUESTIONS).encode(),
    "an array over many lines": json.dumps(QUESTIONS, indent=2).encode(),
    "an array with a mark": b"\xef\xbb\xbf  " + json.dumps(QUESTIONS).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_problems_are_read_in_every_form_that_holds_json(tmp_path: Path, form: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(FORMS[form])
    with pytest.raises(BadProblem, match=r"line \d+ has no 'answer'"):  # both rows were read
        load(str(path))
    assert load(str(path), limit=1).examples[0].reference == "6"
    assert [row for _, row in rows(io.BytesIO(FORMS[form]), json.loads)] == QUESTIONS


def test_one_object_over_many_lines_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(QUESTIONS[0], indent=1))
    assert len(load(str(tmp_path / "p.json")).examples) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.jsonl", b'question,answer\n"1+1?",2\n', r"line 1 is not JSON, but looks like CSV \(question,answer\)"),
        ("p.jsonl", bz2.compress(LINES.encode()), "is packed with bzip2"),
        ("p.parquet", b"PAR1" + bytes(40), "is a Parquet file"),
        ("p.xlsx", b"PK\x03\x04" + bytes(40), "spreadsheet"),
        (
            "p.jsonl.gz",
            gzip.compress(b'{"question": "a"}\n', mtime=0)[:-9],
            "cannot read .*ended before the end-of-stream",
        ),
        ("p.jsonl", LINES.encode("utf-16")[:-1], "is not UTF-16"),
        ("p.jsonl", b'{"question": "a \\ud83d b"}', r"line 1 .*'\\ud83d', half of a surrogate pair"),
        ("p.jsonl", b'{"question": "a"},\n{"question": "b"},\n', "line 1 is not JSON: Extra data"),
        ("p.json", b'[{"question": "a"},\n{"question": ]', "line 1 is not JSON"),
        ("p.csv", b'question,answer\n"1+1?",2,3\n', "line 2 has more cells"),
        ("p.csv", b"id,question,answer\na,1+1?,2\nb,1+2?\n", "line 3 has 2 cells, and the first line has 3"),
        ("p.csv", b'question,answer\n"1+1\xff?",2\n', "is not UTF-8"),
        ("p.csv", b"question,answer,answer\n1+1?,2,3\n", "line 1 names two columns 'answer'"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_sentence(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadProblem, match=words) as caught:
        load(str(tmp_path / name))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("end", "sign", "pack"),
    [
        ("csv", ",", bytes),
        ("tsv", "\t", bytes),
        ("csv.gz", ",", gzip.compress),
        ("csv.gz", ",", lambda text: gzip.compress(gzip.compress(text))),
    ],
)
def test_a_table_is_read_where_the_name_says_so(
    tmp_path: Path, end: str, sign: str, pack: Callable[[bytes], bytes]
) -> None:
    lines = [f"id{sign}question{sign}answer", f'a{sign}"two\nlines, ""quoted"""{sign}4', f"b{sign}1+1?{sign}"]
    (tmp_path / f"p.{end}").write_bytes(pack(("\ufeff" + "\r\n".join(lines)).encode()))
    first, second = load(str(tmp_path / f"p.{end}")).examples
    assert (first.problem.id, first.problem.prompt, first.reference) == ("a", 'two\nlines, "quoted"', "4")
    assert (second.problem.prompt, second.reference) == ("1+1?", None)


def test_pools_are_read_in_the_same_forms_and_keep_a_text_that_was_cut_in_a_character(tmp_path: Path) -> None:
    row = {"benchmark": "b", "model": "m", "problem_id": "p", "sample_id": 0, "answer": "4", "text": "a flea \ud83e"}
    (tmp_path / "x.json").write_text(json.dumps([row, {**row, "sample_id": 1}], indent=1), "utf-16")
    pool = import_pool([tmp_path / "x.json"])
    assert pool.texts(pool.groups()[0]) == ["a flea \ufffd"] * 2
    (tmp_path / "y.jsonl").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    with pytest.raises(BadPool, match="zstandard"):
        import_pool([tmp_path / "y.jsonl"])


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**53), 2**53) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.text(st.characters(), max_size=4), VALUES, max_size=3), max_size=4), st.booleans())
def test_whatever_python_writes_as_json_is_read_as_rows(written: list[dict[str, Any]], in_lines: bool) -> None:
    text = "\n".join(map(json.dumps, written)) if in_lines else json.dumps(written)
    found = [value for _, value in rows(io.BytesIO(text.encode()), decoded)]
    assert len(found) == len(written)
    for value in found:
        json.dumps(value, ensure_ascii=False).encode()  # nothing is left that UTF-8 cannot hold


def test_lines_count_from_the_top_of_the_file() -> None:
    with pytest.raises(BadRow) as caught:
        list(rows(io.BytesIO(b'{"a": 1}\n\n\nnothing\n'), decoded))
    assert caught.value.line == 4


def test_a_line_that_was_cut_off_is_said_to_end_too_early(tmp_path: Path) -> None:
    file = tmp_path / "cut.jsonl"
    file.write_text('{"question": "1 + 1"\n')
    with pytest.raises(BadProblem, match="line 1 is not JSON: it ends too early: Expecting ',' delimiter"):
        load(str(file))


def test_a_source_that_is_nearly_a_known_one_gets_its_name() -> None:
    with pytest.raises(BadProblem, match="Did you mean 'chain'"):
        load("chan?size=3")
