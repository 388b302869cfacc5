"""The grader that asks a model: what it is shown and where, what it costs and who is told, and what is paid once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tts
from tts.cli import main as cli
from tts.errors import InvalidParameter, UnknownName, Unreachable
from tts.tasks.llm_grader import read_grade
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

PROBLEMS = [
    {"id": "p1", "question": "Capital {of} France?", "answer": "Paris, the capital"},
    {"id": "p2", "question": "Capital of Peru?", "answer": "Lima"},
    {"id": "p3", "question": "Anything?", "answer": None},
]


@pytest.fixture
def solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    monkeypatch.chdir(tmp_path)
    Path("problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    with FakeEngine(lambda body: Reply("<answer>Paris</answer>")) as running:
        yield running


@pytest.fixture
def judge() -> Iterator[FakeEngine]:
    def grade(body: dict[str, Any]) -> Reply:
        right = "Paris, the capital" in body["messages"][-1]["content"]
        return Reply(f"GRADE: I, no.\nGRADE: {'C' if right else 'I'}")

    with FakeEngine(grade, models=("grader",)) as running:
        yield running


def swept(solver: FakeEngine, judge: FakeEngine | None, grader: str = "llm", **more: Any) -> Any:
    models = {} if judge is None else {"model_for": [f"judge=grader@{judge.base_url}"]}
    own: dict[str, Any] = {"base_url": solver.base_url, "report": False, **models, **more}
    return tts.sweep("problems.jsonl", "majority_vote:n=2", grader=grader, **own)


def test_the_judge_is_shown_problem_reference_and_answer_once_for_each_answer_and_its_cost_is_shown_apart(
    solver: FakeEngine, judge: FakeEngine
) -> None:
    result = swept(solver, judge, run_budget="samples=6", price_in=1.0, price_out=1.0)
    assert [outcome.correct for outcome in result.outcomes] == [True, False, None]
    shown = [body["messages"][0]["content"] for body in judge.requests]
    assert len(shown) == 2
    assert all(part in shown[0] + shown[1] for part in ("Capital {of} France?", "Paris, the capital", "Lima"))
    assert {body["temperature"] for body in judge.requests} == {0.0}
    assert (result.spent.samples, result.graded.samples) == (6, 2)
    assert result.graded.tokens == 2 * len("GRADE: I, no.\nGRADE: C")


def test_no_reference_is_sent_to_the_solver_unless_it_is_the_one_that_grades(solver: FakeEngine) -> None:
    result = swept(solver, None, "llm(max_tokens=7)")
    gradings = [body for body in solver.requests if "[Reference answer]" in body["messages"][-1]["content"]]
    assert {body["max_tokens"] for body in gradings} == {7}
    assert len(gradings) == result.graded.samples == 4  # each was repeated, because "Paris" is no grade
    assert all("has no line GRADE" in (o.ungraded or "") for o in result.outcomes[:2])


def test_a_grading_is_paid_once_and_is_read_from_the_folder(
    solver: FakeEngine, judge: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    first = swept(solver, judge, out="run")
    paid = judge.stats().requests
    again = swept(solver, judge, out="run")
    assert [o.correct for o in again.outcomes] == [True, False, None]
    assert (again.graded, judge.stats().requests) == (first.graded, paid)
    loaded = tts.load("run")
    assert [o.correct for o in loaded.outcomes] == [True, False, None]
    assert loaded.graded.tokens == first.graded.tokens
    with pytest.raises(SystemExit):
        cli.main(["pool", "build", "run"])
    assert [*tts.Pool.read("run/pool.parquet").correct] == [1, 1, 0, 0, -1, -1]
    assert judge.stats().requests == paid


def test_the_command_line_says_what_the_grading_cost(
    solver: FakeEngine, judge: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    target = ["--base-url", solver.base_url, "--model-for", f"judge=grader@{judge.base_url}"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", "problems.jsonl", "-s", "single", "--grader", "llm(model=judge)", "--no-report", *target])
    assert ended.value.code == 0
    assert "gradings by a model, beside what was paid: 2 requests" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("grader", "more", "error", "said"),
    [
        ("llm(model=jugde)", {}, UnknownName, "role for the grader llm"),
        ("llm(temperature=1)", {}, UnknownName, "parameter of the grader llm"),
        ("llm(max_tokens=many)", {}, InvalidParameter, "max_tokens must be a whole number"),
        ("llm", {"base_url": [], "model": "embedded:tts-tiny"}, InvalidParameter, "its model is in this process"),
        ("llm(model=judge)", {"model_for": ["judge=x@http://127.0.0.1:9/v1"]}, Unreachable, "127.0.0.1:9"),
    ],
)
def test_a_model_that_cannot_grade_is_refused_before_anything_is_sent(
    grader: str, more: dict[str, Any], error: type[Exception], said: str, solver: FakeEngine
) -> None:
    with pytest.raises(error, match=said):
        swept(solver, None, grader, **more)
    assert solver.stats().requests == 0


def test_a_plan_does_not_grade_with_a_model(solver: FakeEngine) -> None:
    with pytest.raises(InvalidParameter, match="a plan grades every sample"):
        tts.plan("problems.jsonl", run_budget="samples=9", out="plan", grader="llm", base_url=solver.base_url)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("GRADE: C", True),
        ("**Grade**: **I**", False),
        ("<think>GRADE: C</think>GRADE: I", False),
        ("<think>GRADE: C", None),
        ("GRADE: C or I?\nGRADE: C", True),
        ("GRADE: Correct", None),
        ("Paris", None),
    ],
)
def test_the_last_grade_outside_of_thinking_counts(text: str, grade: bool | None) -> None:
    assert read_grade(text) is grade
