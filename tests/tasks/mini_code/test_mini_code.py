"""Programs as problems: what is described is what the reference does, and the hidden tests tell."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tts
from tts.api.load import read_run
from tts.core.actions import Request
from tts.errors import BadProblem, ProgramRefused, UnknownName
from tts.pools.from_run import build_pool
from tts.tasks.graders import grader_named, is_asked_again
from tts.tasks.mini_code.grader import UNSAFE, hidden_tests
from tts.tasks.mini_code.problems import OPERATIONS, Raised, Spec, Step, called, drawn_tests, problem
from tts.tasks.sources import load
from tts.types import Problem
from tts.workers.killable_processes import Workers
from tts.workers.restricted import Restricted, passed


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1) as pool:
        yield pool


P = Problem("p", "?")
RIGHT = "def solve(n):\n    return n + 1"
REFERENCE = f"{RIGHT}\n\nassert solve(1) == 2\nassert solve(5) == 6"


def graded(grader: str, answer: str | None, workers: Workers) -> object:
    return asyncio.run(grader_named(grader, workers).grade(answer, REFERENCE, P))


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_the_steps_one_by_one_compute_what_the_written_program_does(seed: int, level: int) -> None:
    random = Random(seed)
    spec = problem(random, level).spec
    for codes in [spec.codes, *list(spec.mutants())[:2]]:
        tried = Restricted(spec.program(codes))
        for _ in range(3):
            arguments = spec.arguments(random)
            value = spec.outcome(codes, arguments)
            call = f"solve({', '.join(map(repr, arguments))})"
            if isinstance(value, Raised):
                with pytest.raises(ValueError, match=f"{value.name}|no end"):
                    tried.value(call)
            else:
                assert tried.value(call) == value


def test_hidden_tests_pass_the_reference_and_fail_nearly_all_programs_with_one_mistake() -> None:
    random = Random(3)
    escaped = tried = 0
    for i in range(30):
        made = problem(random, 1 + i % 3)
        hidden = drawn_tests(random, made)
        assert passed(made.spec.program(made.spec.codes), hidden)
        assert len(hidden) == len(set(hidden)) >= 4
        for codes in made.spec.mutants():
            tried += 1
            escaped += passed(made.spec.program(codes), hidden)
    assert escaped / tried < 0.05  # some are right, too: what they leave out shows on no input


def test_each_operation_s_slips_change_what_it_does() -> None:
    """On some of its inputs: a slip that computes the same is none."""
    random = Random(5)
    assert len(OPERATIONS) >= 60 and all(len(operation.told) == 2 for operation in OPERATIONS)
    for operation in OPERATIONS:
        k = "e" if operation.k == "letter" else operation.k and operation.k[0]
        one = Step(operation, operation.told[0], k)
        spec = Spec((one,), None)
        inputs = [spec.arguments(random) for _ in range(100)]
        for slip in operation.slips:
            assert any(spec.outcome([one.filled(slip)], x) != spec.outcome(spec.codes, x) for x in inputs), slip


def test_problems_repeat_by_seed_and_differ_by_thousands() -> None:
    one, other = (load("mini_code?size=9&seed=4").examples for _ in range(2))
    assert one == other and one[:3] == load("mini_code?size=3&seed=4").examples
    assert one != load("mini_code?size=9&seed=5").examples
    random = Random(1)
    specs = [problem(random, 3).spec for _ in range(100)]
    assert len({spec.program(spec.codes) for spec in specs}) >= 95


def test_a_problem_says_all_and_shows_no_hidden_test() -> None:
    for example in load("mini_code?size=12&levels=1,3").examples:
        facts = example.problem.facts
        assert example.problem.answer_format == "code"
        assert facts["level"] in (1, 3)
        assert f"Write a Python function {facts['signature']}." in example.problem.prompt
        assert 2 <= len(facts["examples"]) <= 3
        assert all(test.removeprefix("assert ") in example.problem.prompt for test in facts["examples"])
        assert passed(example.reference or "", facts["examples"])
        assert set(hidden_tests(example.reference or "")) - set(facts["examples"])
        assert "return" not in example.problem.prompt


def test_levels_and_parameters_that_are_not_there_are_named() -> None:
    with pytest.raises(UnknownName, match=r"level of mini_code '4'.*1, 2, 3"):
        load("mini_code?levels=4")
    with pytest.raises(UnknownName, match="parameter of mini_code 'sizes'"):
        load("mini_code?sizes=4")
    with pytest.raises(BadProblem, match="mini_code"):
        load("minicode?size=4")


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (RIGHT, True),
        ("def solve(k):\n    total = 1\n    for _ in range(k):\n        total += 1\n    return total", True),
        ("def solve(n):\n    return n + 2", False),
        ("def solve(n):\n    return 2", False),
        ("def other(n):\n    return n + 1", False),
        ("def solve(n):\n    while True: pass", False),
        ("def solve(n) return", False),
        (None, False),
    ],
)
def test_programs_are_graded_by_what_they_return(answer: str | None, verdict: bool, workers: Workers) -> None:
    assert graded("mini_code", answer, workers) is verdict


def test_what_is_not_safe_to_run_is_unknown_until_that_is_allowed(workers: Workers) -> None:
    for body, verdict in (("n + 1", True), ("n", False)):
        answer = f"import math\n\ndef solve(n):\n    return math.floor({body})"
        with pytest.raises(ProgramRefused, match=r"line 1, has an import.*unknown; --unsafe-execute executes it"):
            graded("mini_code", answer, workers)
        assert graded(UNSAFE, answer, workers) is verdict
    assert is_asked_again("mini_code") and not is_asked_again(UNSAFE)


def test_a_reference_without_tests_is_found_before_a_run(workers: Workers) -> None:
    with pytest.raises(BadProblem, match=r"problem 'p' \(line 3\) has no test"):
        asyncio.run(grader_named("mini_code", workers).check_reference(RIGHT, P, 3))


def test_called_is_what_python_reads() -> None:
    assert called([[1, 2], "a'b"], {"x": None}) == """solve([1, 2], "a'b") == {'x': None}"""


SOURCE = "mini_code?size=3&seed=8&levels=1"


async def writes(request: Request) -> str:
    """Right, wrong, and beyond what is safe to run, by problem."""
    for i, example in enumerate(load(SOURCE).examples):
        if example.problem.prompt == request.messages[-1].content:
            program = (example.reference or "").partition("\n\nassert")[0]
            return f"```python\n{(program, 'def solve(): return 1', f'import os{chr(10)}{program}')[i]}\n```"
    return "no"


@pytest.mark.parametrize("unsafe", [False, pytest.param(True, marks=pytest.mark.system)])
def test_readers_of_a_folder_see_the_verdicts_of_its_run(tmp_path: Path, unsafe: bool) -> None:
    options: dict[str, Any] = {"model": writes, "out": tmp_path, "report": False, "unsafe_execute": unsafe}
    result = tts.sweep(SOURCE, "single", **options)
    expected = [True, False, True if unsafe else None]
    assert [outcome.correct for outcome in sorted(result.outcomes, key=lambda o: o.problem_id)] == expected
    (row,) = result.rows
    assert row.ungraded == (not unsafe) and ("has an import" in (row.ungraded_why or "")) == (not unsafe)
    again, _ = asyncio.run(read_run(tmp_path))
    assert [outcome.correct for outcome in sorted(again.outcomes, key=lambda o: o.problem_id)] == expected
    reasons: list[str] = []
    pool = asyncio.run(build_pool(tmp_path, on_ungraded=lambda count, reason: reasons.append(reason)))
    assert [pool.row(i).correct for i in range(3)] == expected
    assert len(reasons) == (not unsafe)
