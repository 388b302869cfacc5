"""The result table of a terminal."""

import io
from types import SimpleNamespace

import pytest
from pages import outcome
from rich.console import Console

from tts.api.progress import Display
from tts.core.actions import Finished
from tts.process.console import console, plain_table, say
from tts.reports.summary import summarise
from tts.reports.terminal import rows_table
from tts.runs.row import Row
from tts.types import Completion, Cost


def shown(rows: list[Row], width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(rows_table(rows, width))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def rows(**counts: int) -> list[Row]:
    made = []
    for strategy, params in (("majority_vote", "n=8"), ("sequential_revision", "chains=1,rounds=4")):
        for i in range(4):
            made.append(
                outcome(
                    f"p{i}",
                    cell=strategy,
                    correct=i > 1,
                    params=params,
                    strategy=strategy,
                    verifier_tokens=120,
                    cancelled_tokens=1_700,
                    candidates=8,
                    **counts,
                )
            )
    return summarise(made)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_table_fits_its_terminal_with_every_number_whole(width: int) -> None:
    found = rows(cut=3, cut_at=512, unanswered=4, refused=1, failed=2, exhausted=True)
    lines = shown(found, width)
    assert all(len(line) <= width for line in lines)
    assert "\N{HORIZONTAL ELLIPSIS}" not in "".join(lines)
    for column in ("accuracy", "95 %", "tokens"):
        assert column in lines[0]
    assert "majority_vote:" in lines[1] and "50.0 %" in lines[1]


def test_what_a_terminal_has_no_room_for_is_named() -> None:
    found = rows(cut=3, cut_at=512, unanswered=4, refused=1, failed=2)
    assert "no room" not in "".join(shown(found, 200))
    narrow = shown(found, 80)
    assert all(name in narrow[0] for name in ("no answer", "cut"))
    assert "no room here for: problems" in " ".join(narrow)


def test_counts_of_samples_are_columns_where_there_are_any() -> None:
    heading = shown(rows(cut=0, cut_at=0, unanswered=0, refused=0), 200)[0]
    assert not any(name in heading for name in ("cut", "no answer", "refused", "failed", "not graded", "errors"))
    heading = shown(rows(cut=1, cut_at=9, unanswered=2, refused=1, failed=1), 200)[0]
    assert all(name in heading for name in ("cut", "no answer", "refused", "failed"))


def names_of(lines: list[str]) -> set[str]:
    return set(" ".join(lines).replace(",", " ").replace(":", " ").split())


def test_names_stay_on_one_line_where_columns_can_go_and_are_never_broken_inside_a_word() -> None:
    found = rows()
    (line,) = [line for line in shown(found, 80) if line.startswith("sequential_revision")]
    assert line.split()[0] == "sequential_revision:chains=1,rounds=4" and "50.0 %" in line
    assert {"sequential_revision", "chains=1", "rounds=4"} <= names_of(shown(found, 60))


def test_a_table_of_texts_names_the_columns_it_has_no_room_for() -> None:
    heads, row = ["model", "problems", "answered", "scores"], ["a/model[v2]", "1,000", "39.2%", "judge, prm"]
    for width in (80, 30, 12):
        text = io.StringIO()
        Console(file=text, width=width, markup=False).print(plain_table(heads, [row], width, "a title [x]"))
        printed = text.getvalue()
        assert all(name in " ".join(printed.split()) for name in heads)
        assert "a/model[v2]" in printed and "[x]" in printed
        assert ("1,000" in printed) == (width > 12)


def test_sentences_are_wrapped_between_words_on_a_terminal_and_never_elsewhere() -> None:
    sentence = "note: " + "half of the samples [/all] of a-strategy were cut " * 4
    terminal, pipe = io.StringIO(), io.StringIO()
    say(Console(file=terminal, width=40, force_terminal=True, markup=False, highlight=False), sentence, 2)
    say(Console(file=pipe, width=40, markup=False), sentence, 2)
    lines = terminal.getvalue().rstrip().splitlines()
    assert len(lines) > 1 and all(len(line) <= 40 for line in lines) and all(line[:2] == "  " for line in lines[1:])
    assert " ".join(terminal.getvalue().split()) == " ".join(sentence.split())
    assert pipe.getvalue().rstrip() == sentence.rstrip()


def test_a_pipe_gets_every_column_and_columns_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert "no room" not in "".join(shown(rows(cut=3, cut_at=512), console().width))
    monkeypatch.setenv("COLUMNS", "72")
    assert console().width == 72


def test_what_a_server_refuses_is_said_once_while_a_sweep_runs() -> None:
    text = io.StringIO()
    display = Display(Console(file=text, width=200))
    for sample in ("a", "b"):
        done = Completion("4", endpoint="http://h/v1", downgrades=("temperature",))
        display.on_events([Finished(sample, 0.0, done)])
    assert text.getvalue().count("http://h/v1 refuses temperature") == 1


@pytest.mark.parametrize(("waiting", "words"), [(0, "stopping\n"), (1, "1 request in flight; Ctrl-C again ends it")])
def test_whoever_interrupts_a_silent_server_is_told_at_once_what_is_waited_for_and_what_a_second_time_costs(
    waiting: int, words: str
) -> None:
    text = io.StringIO()
    display = Display(Console(file=text, width=200), interrupts=False)
    scheduler = SimpleNamespace(in_flight=waiting, ledger=SimpleNamespace(reserved=Cost(1, 4096)))
    cluster = SimpleNamespace(drain=lambda: None)
    display.started(cluster, scheduler, 1, "", SimpleNamespace(unreachable=[]))  # type: ignore[arg-type]
    display._interrupt()
    assert words in text.getvalue()
    assert ("at most 4,096 tokens" in text.getvalue()) is bool(waiting)
