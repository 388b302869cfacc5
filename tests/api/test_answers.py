"""Answers that a user's own rule finds, in every call: what votes, what is recorded, and what ends a trial."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tts
from tts.cli import main as cli
from tts.errors import RunMismatch
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

SUMS = "arithmetic?size=2&seed=7"
MINE = """
def word(text):
    return text.split()[1]


def broken(text, problem):
    return text[99]


def number(text):
    return 7
"""
REGEX = r"code (\w+)"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    with FakeEngine(lambda body: Reply("code mango. Answer: 5")) as running:
        yield running


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    return int(exit_.value.code or 0)


@pytest.mark.parametrize(
    "rule", [{"answer_regex": REGEX}, {"answer": "mine.py:word"}, {"answer": lambda text: text.split()[1]}]
)
def test_every_call_reads_answers_by_the_rule(rule: dict[str, Any], engine: FakeEngine) -> None:
    url = engine.base_url
    assert tts.solve("?", "majority_vote:n=2", base_url=url, **rule).answer == "mango"
    with tts.Client(base_url=url, **rule) as client:
        assert client.solve_sync("?", "majority_vote:n=2").answer == "mango"


def test_sweeps_and_plans_read_answers_by_the_rule(engine: FakeEngine) -> None:
    url, rule = engine.base_url, {"answer": lambda text: text.split()[1]}
    for problems in (SUMS, [tts.Problem("p1", "?")]):
        swept = tts.sweep(problems, "single", base_url=url, report=False, **rule)
        assert {outcome.answer for outcome in swept.outcomes} == {"mango"}
    plan = tts.plan(SUMS, run_budget="samples=20", pilot=2, draws=2, out="plan", base_url=url, **rule)
    assert plan.samples == 2


def test_the_command_line_reads_answers_by_the_rule(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--answer-regex", REGEX], ["--answer", "mine.py:word"]):
        assert command("solve", "?", "-s", "single", "--base-url", engine.base_url, *flags) == 0
        assert "answer: mango" in capsys.readouterr().err
    for flags, said in (
        (["--answer-regex", "("], "--answer-regex '(' is no regular expression"),
        (["--answer-regex", "x"], "--answer-regex 'x' has no group"),
        (["--answer", "mine.py:none"], "mine.py has no none"),
        (["--answer", "none.py:word"], "none.py is not a file here"),
        (["--answer", "mine.py:word", "--answer-regex", "(.)"], "--answer and answer_regex both say"),
    ):
        paid = engine.stats().requests
        assert command("solve", "?", "--base-url", engine.base_url, *flags) == 2
        assert said in capsys.readouterr().err
        assert engine.stats().requests == paid


def test_a_function_that_fails_is_an_error_of_its_problem_and_not_a_wrong_answer(engine: FakeEngine) -> None:
    for name, said in (("broken", "raised IndexError"), ("number", "must return text or None, but returned 7")):
        solved = tts.solve("?", "majority_vote:n=3", base_url=engine.base_url, answer=f"mine.py:{name}")
        assert solved.error is not None and said in solved.error.message
        assert solved.cost.samples >= 1
        swept = tts.sweep(SUMS, "single", base_url=engine.base_url, report=False, answer=f"mine.py:{name}")
        assert [(outcome.correct, said in (outcome.error or "")) for outcome in swept.outcomes] == [(None, True)] * 2


def test_a_pool_of_a_run_is_made_with_the_function_named_again(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tts.sweep(SUMS, "single", base_url=engine.base_url, out="run", report=False, answer="mine.py:word")
    monkeypatch.setattr("tts.answers.rules._FUNCTIONS", {})  # as in another process
    assert command("pool", "build", "run") == 2
    assert "add --answer FILE.py:NAME" in capsys.readouterr().err
    assert command("pool", "build", "run", "--answer", "mine.py:word") == 0
    assert tts.Pool.read("run/pool.parquet").answer[0] == "mango"


def test_a_resumed_run_needs_the_same_rule_and_a_changed_function_is_another(engine: FakeEngine) -> None:
    own: dict[str, Any] = {"base_url": engine.base_url, "out": "run", "report": False}
    tts.sweep(SUMS, "single", answer="mine.py:word", **own)
    paid = engine.stats().requests
    tts.sweep(SUMS, "single", answer="mine.py:word", **own)
    with pytest.raises(RunMismatch, match=r"prompts.answer: was 'mine.py:word \w+', now 'regex:"):
        tts.sweep(SUMS, "single", answer_regex=REGEX, **own)
    Path("mine.py").write_text(MINE.replace("[1]", "[0]"))
    with pytest.raises(RunMismatch, match=r"prompts.answer: was 'mine.py:word \w+', now 'mine.py:word \w+'"):
        tts.sweep(SUMS, "single", answer="mine.py:word", **own)
    assert engine.stats().requests == paid
