"""The result table of a terminal."""

import io

import pytest
from rich.console import Console
from test_report import outcome

from tts.display import table_of
from tts.report import Row, summarise


def shown(rows: list[Row], width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(table_of(rows, width))
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
