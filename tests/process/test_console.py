"""What others wrote reaches a terminal and a spreadsheet as text, never as a command."""

import csv
import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tts.api.results import as_json
from tts.cli import main as cli
from tts.cli.output import complain
from tts.process import console
from tts.process.streams import echo, visible
from tts.reports import terminal
from tts.reports.spreadsheet import plain
from tts.reports.summary import summarise
from tts.reports.sweep import write_report
from tts.runs.outcomes import Outcome
from tts.runs.row import Row
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply


def outcome(**more: Any) -> Outcome:
    counts = {"samples": 1, "prompt_tokens": 5, "sequential_tokens": 9, "verifier_tokens": 0, "tokens": 9}
    other = {"cancelled_tokens": 0, "usd": 0.5, "flops": 9, "seconds": 1.0, "latency_s": 2.0, "answer": "1"}
    given = {"budget": "1k", "seed": 0, "problem_id": "p", "correct": True, **counts, **other, **more}
    return Outcome(**given)


TITLE = "\x1b]0;mine\x07"
CLIPBOARD = "\x9b52;c;aGk=\x9c"
OBEYED = f"{TITLE}{CLIPBOARD}\x1b[8mhid\x1b[0m\rover\x08\u202egnp"


TURNS = set(map(chr, (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))  # of the direction of writing


def commands(text: str) -> list[str]:
    """The characters that a terminal obeys, but for lines and tabs."""
    said = text.replace("\r\n", "")
    return [c for c in said if c in TURNS or (unicodedata.category(c) == "Cc" and c not in "\n\t")]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_visible_text_has_no_commands_and_keeps_the_rest(text: str) -> None:
    shown = visible(text)
    assert not commands(shown)
    assert visible(shown) == shown
    assert commands(text) or shown == text


def test_tables_lines_and_json_show_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    out = console.console()
    row = summarise([outcome(cell=OBEYED, strategy=OBEYED, params=f"n={OBEYED}")])
    out.print(terminal.rows_table(row, 400))
    out.print(f"note: {OBEYED}")
    console.say(out, OBEYED)
    echo(OBEYED)
    echo(as_json({"text": OBEYED}))
    said = capsys.readouterr().out
    assert not commands(said)
    assert "\\x1b]0;mine\\x07" in said and "\\x9b52;c" in said
    assert json.loads(as_json({"text": OBEYED})) == {"text": OBEYED}


def test_the_answer_of_a_model_and_an_error_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with FakeEngine(lambda request: Reply((OBEYED, " Answer: 4"))) as engine, pytest.raises(SystemExit):
        cli.main(["solve", "What?", "-s", "single", "--base-url", engine.base_url])
    complain(f"tts: ServerFailed: {OBEYED}")
    out, err = capfd.readouterr()
    assert "mine" in out and "mine" in err
    assert not commands(out + err)


@given(
    st.text(max_size=20)
    | st.lists(st.text(max_size=5), max_size=3).map(tuple)
    | st.floats()
    | st.integers()
    | st.none()
)
@example("\xa0=")
def test_no_field_of_a_csv_file_is_a_formula_and_numbers_stay(value: Any) -> None:
    field = plain(value)
    if isinstance(field, str):
        assert field.strip()[:1] not in {"=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"}
        text = "; ".join(value) if isinstance(value, tuple) else value
        assert field.removeprefix("'") == visible(text).removeprefix("'")
    else:
        assert field is value


def test_reports_of_names_that_are_formulas_markup_and_commands_of_a_terminal(tmp_path: Path) -> None:
    orders = "\x1b]0;mine\x07\u202egnp.\u2066\ufffe"  # the library that draws ends the process for the first of these
    evil = f'=cmd|"/C calc"!A0</script><img src=x onerror=alert(1)>{orders}'
    rows = summarise([outcome(cell=evil, strategy=evil, params=f"+{evil}", budget=evil)])
    files = write_report(tmp_path, rows, {"title": evil, evil: evil})
    table = list(csv.DictReader(io.StringIO(files["report.csv"].read_text())))
    assert table[0]["strategy"] == f"'{visible(evil)}" and table[0]["params"] == f"'+{visible(evil)}"
    assert float(table[0]["tokens"]) == 9
    assert "<img" not in files["report.html"].read_text()
    for path in files.values():
        if path.suffix in (".html", ".svg", ".csv"):
            assert not set(orders) - set("]0;mine;gnp.") & set(path.read_text()), path
    assert {name for name in Row.__struct_fields__ if table[0].get(name, "").startswith("=")} == set()


def test_a_name_between_colons_is_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    out = console.console()
    console.say(out, "mine.py:loop:k=3 :fire:")
    assert capsys.readouterr().out.strip() == "mine.py:loop:k=3 :fire:"
