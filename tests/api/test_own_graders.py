"""Graders of the user's own: what they see, what they may return, and that a folder does not have them run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tts
from tts.cli import main as cli
from tts.errors import InvalidParameter
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

MINE = """
import os
from pathlib import Path

if "TTS_TEST_TRAP" in os.environ:
    raise SystemExit("a folder had this file run")


def by_problem(answer, reference, problem):
    return None if reference is None and problem.prompt == "open?" else answer == problem.id.removeprefix("p")


def partial(answer, reference):
    return 0.5


def three(answer, reference, problem, more):
    return True
"""
PROBLEMS = '{"id": "p5", "question": "2 + 2?", "answer": "4"}\n{"id": "p6", "question": "open?", "answer": null}\n'


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("problems.jsonl").write_text(PROBLEMS)
    with FakeEngine(lambda body: Reply("Answer: 5")) as running:
        yield running


def graded(engine: FakeEngine, grader: Any, **more: Any) -> list[tuple[bool | None, str | None]]:
    own = {"base_url": engine.base_url, "report": False, **more}
    outcomes = tts.sweep("problems.jsonl", "single", grader=grader, **own).outcomes
    return [(outcome.correct, outcome.ungraded) for outcome in outcomes]


def test_a_grader_sees_the_answer_the_reference_and_the_problem_and_may_grade_without_a_reference(
    engine: FakeEngine,
) -> None:
    assert graded(engine, "mine.py:by_problem") == [(True, None), (None, None)]


def near_by_two(answer: str, reference: str | None) -> bool:
    return reference is None or abs(float(answer) - float(reference)) <= 2


def test_a_function_of_a_program_grades_a_plan_in_the_process_with_the_references(engine: FakeEngine) -> None:
    own: dict[str, Any] = {"run_budget": "samples=20", "pilot": 2, "draws": 2, "out": "plan"}
    plan = tts.plan("problems.jsonl", base_url=engine.base_url, grader=near_by_two, **own)
    assert plan.measure == "accuracy"


def test_what_is_no_verdict_is_unknown_with_the_reason_and_a_mended_grader_grades_again_without_a_new_sample(
    engine: FakeEngine,
) -> None:
    assert (
        graded(engine, "mine.py:partial", out="run")
        == [(None, "CallFailed: the grader mine.py:partial must return True, False or None, but returned 0.5")] * 2
    )
    paid = engine.stats().requests
    Path("mine.py").write_text(MINE.replace("return 0.5", "return True"))
    assert graded(engine, "mine.py:partial", out="run") == [(True, None), (True, None)]
    assert engine.stats().requests == paid


def test_a_grader_that_cannot_grade_is_refused_before_anything_is_sent(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--no-report", "--base-url", engine.base_url, "--grader", "mine.py:three"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", "problems.jsonl", "-s", "single", *flags])
    assert ended.value.code == 2
    assert "--grader must be `def mine(answer, reference)`" in capsys.readouterr().err
    with pytest.raises(InvalidParameter, match=r"can import, but .*<lambda> is one without a name"):
        graded(engine, lambda answer, reference: True)
    assert engine.stats().requests == 0


def test_a_folder_has_its_verdicts_read_and_its_grader_run_only_where_it_is_named_again(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graded(engine, "mine.py:by_problem", out="run")
    monkeypatch.setenv("TTS_TEST_TRAP", "1")
    assert [outcome.correct for outcome in tts.load("run").outcomes] == [True, None]
    with pytest.raises(SystemExit) as ended:
        cli.main(["pool", "build", "run"])
    assert ended.value.code == 0
    assert [*tts.Pool.read("run/pool.parquet").correct] == [1, -1]
    Path("run/verdicts.jsonl").unlink()
    assert "its grader mine.py:by_problem is not asked" in (tts.load("run").outcomes[0].ungraded or "")
    monkeypatch.delenv("TTS_TEST_TRAP")
    with pytest.raises(SystemExit):
        cli.main(["pool", "build", "run", "--grader", "mine.py:by_problem"])
    assert [*tts.Pool.read("run/pool.parquet").correct] == [1, -1]
