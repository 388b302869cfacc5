import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from tts.answers import symbolic
from tts.errors import BadProblem, CallCrashed, CallTimedOut, MissingExtra, UnknownName
from tts.tasks.example import Example
from tts.tasks.graders import ExactGrader, Grading, MathGrader, ReasoningGymGrader, grader_named
from tts.tasks.sources import load
from tts.tasks.verdict import Verdict
from tts.types import Problem
from tts.workers.killable_processes import Workers

PROBLEM = Problem("p1", "?")
POWER_TOWER = r"\dfrac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}"
LONG_S = 300.0


@pytest.fixture(scope="module")
def workers():
    with Workers(2) as workers:
        yield workers


class CountingWorkers(Workers):
    """The real thing, which also says how often it was called."""

    calls = 0

    async def call(self, *args, **kwargs):
        self.calls += 1
        return await super().call(*args, **kwargs)


def grade(grader, reference, *answers):
    async def main():
        return [await grader.grade(answer, reference, PROBLEM) for answer in answers]

    return asyncio.run(main())


def test_the_exact_grader_compares_numbers_choices_and_words():
    assert grade(ExactGrader(), "0.5", "1/2", r"\frac{1}{2}", "0.50", "0.51", "50%", None) == [True] * 3 + [False] * 3
    assert grade(ExactGrader(), "Monday", "monday", "Tuesday") == [True, False]
    assert grade(ExactGrader(), "x+1", "x + 1", "1+x") == [True, False]


@pytest.mark.parametrize(
    ("reference", "right", "wrong"),
    [
        ("42", ["42", "42.0", r"\boxed{42}", r"6 \cdot 7", r"\sqrt{1764}", "42\\text{ apples}"], ["43", "none", "x"]),
        (r"\frac{1}{3}", ["1/3", "0.333333", r"\frac{2}{6}"], ["0.33", "3"]),
        ("x^2+2x+1", ["(x+1)^2", "1 + 2x + x^{2}"], ["(x-1)^2", "x^2"]),
        (r"\left( 3, \frac{\pi}{2} \right)", [r"(3,\pi/2)"], [r"(\frac{\pi}{2},3)"]),
        (r"(-\infty,2)\cup(3,\infty)", [r"(-\infty, 2) \cup (3, \infty)"], [r"(-\infty,2]\cup(3,\infty)"]),
        ("10%", ["0.1", "10", r"10\%"], ["1"]),
        ("B", ["B", "(B)"], ["A", "2"]),
    ],
)
def test_the_math_grader_knows_equal_values(workers, reference, right, wrong):
    grader = MathGrader(workers, timeout_s=LONG_S)
    assert grade(grader, reference, *right) == [True] * len(right)
    assert grade(grader, reference, *wrong, None) == [False] * len(wrong) + [False]


def test_plain_answers_are_settled_without_a_worker():
    workers = CountingWorkers(1)
    with workers:
        assert grade(MathGrader(workers), "42", "42", "41", "42.00", "no idea", None) == [
            True,
            False,
            True,
            False,
            False,
        ]
    assert workers.calls == 0


def graded(grader, *pairs):
    """The verdict on each (problem id, reference, answer), in the order given, after all gradings have settled."""

    async def main():
        found = {}
        grading = Grading(grader, lambda problem, answer, verdict: found.setdefault((problem, answer), verdict))
        for problem, reference, answer in pairs:
            assert grading.begin(Example(Problem(problem, "?"), reference), answer) is None
        await grading.settle()
        return [found[problem, answer] for problem, _, answer in pairs]

    return asyncio.run(main())


def test_an_answer_that_hangs_is_unknown_and_costs_its_limit_twice():
    workers = CountingWorkers(2)
    with workers:
        grader = MathGrader(workers, timeout_s=0.5)
        workers.call_sync("tts.answers.symbolic:equal", ("x+1", "1+x"), timeout_s=LONG_S)
        pairs = [("p1", "7", POWER_TOWER)] * 5 + [("p1", "7", "6+1"), ("p1", "7", "8"), ("p2", "7", "6+1")]
        *hung, right, wrong, right_too = graded(grader, *pairs)
    assert {v.correct for v in hung} == {None}
    assert "has used 0.5 s of CPU time, its limit" in hung[0].error
    assert (right.correct, wrong.correct, right_too.correct) == (True, False, True)
    assert workers.calls == 4


class Scripted:
    """A grader that does what it was told for an answer, try by try, and keeps how many ran beside each try."""

    def __init__(self, **script):
        self.script = {answer: list(tries) for answer, tries in script.items()}
        self.running = set()
        self.beside = {answer: [] for answer in script}

    async def grade(self, answer, reference, problem):
        self.running.add(answer)
        await asyncio.sleep(0)
        self.beside[answer].append(len(self.running) - 1)
        await asyncio.sleep(0)
        self.running.remove(answer)
        outcome = self.script[answer].pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_a_grading_that_failed_is_made_once_more_when_no_other_runs_beside_it():
    busy, crashed = CallTimedOut("no time"), CallCrashed("killed")
    grader = Scripted(a=[True], b=[busy, True], c=[crashed, False], d=[busy, busy], e=[ValueError("odd"), None])
    verdicts = graded(grader, *(("p", "r", answer) for answer in "abcde"))
    assert [v.correct for v in verdicts] == [True, True, False, None, None]
    assert [v.error for v in verdicts] == [None, None, None, "CallTimedOut: no time", None]
    assert all(first > 0 and again == [0] for first, *again in (grader.beside[answer] for answer in "bcde"))
    assert not any(grader.script.values())


def test_an_error_of_the_graders_own_is_no_verdict_and_stops_nothing():
    verdicts = graded(Scripted(a=[KeyError("x"), KeyError("x")], b=[True]), ("p", "r", "a"), ("p", "r", "b"))
    assert verdicts == [Verdict(error="KeyError: 'x'"), Verdict(True)]


def test_an_answer_that_is_no_text_cannot_be_graded():
    grading = Grading(ExactGrader())
    verdict = grading.begin(Example(PROBLEM, "7"), [7])
    assert verdict.correct is None
    assert verdict.error == "an answer is text or None, but this one is [7] (list)"


def test_without_a_reference_there_is_no_verdict_and_no_error():
    assert graded(Scripted(), ("p", None, "a")) == [Verdict()]


def test_a_reference_that_cannot_be_read_is_refused_with_its_problem_and_line(workers):
    async def main():
        for grader in (MathGrader(workers, timeout_s=LONG_S), ExactGrader()):
            for reference in ("42", "B", "Monday", r"\frac{\pi}{2}", "(1,2)"):
                await grader.check_reference(reference, PROBLEM)
            with pytest.raises(BadProblem, match="'p1' is empty"):
                await grader.check_reference(" . ", PROBLEM)
        with pytest.raises(BadProblem, match=r"'p1' \(line 7\) cannot be read") as caught:
            await MathGrader(workers).check_reference(r"\begin{tikzpicture}", PROBLEM, 7)
        assert caught.value.facts == {"problem": "p1", "line": 7}
        with pytest.raises(BadProblem, match=r"cannot be read: .* its limit"):
            await MathGrader(workers, timeout_s=0.5).check_reference(r"\binom{10^9}{500000000}", PROBLEM)

    asyncio.run(main())


def test_votes_fall_into_classes_by_algebra_in_the_order_first_seen(workers):
    answers = ["x+1", "7", "1+x", r"\sqrt{49}", "7.0", "y", "(x+1)", "y"]
    call = workers.call("tts.answers.symbolic:classes", (answers,), timeout_s=LONG_S)
    assert asyncio.run(call) == [0, 1, 0, 1, 1, 2, 0, 2]


def classes_with_a_stop_in_every_comparison(answers):
    """`symbolic.classes`, in a worker, where the process that compares is given no time for twice its limit."""
    equal, symbolic.PAIR_LIMIT_S = symbolic.equal, 0.5

    def stopped(reference, answer):
        compares = os.getpid()
        if os.fork() == 0:  # a process that wakes it up again
            while os.getppid() == compares:
                time.sleep(2 * symbolic.PAIR_LIMIT_S)
                os.kill(compares, signal.SIGCONT)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGSTOP)
        return equal(reference, answer)

    equal("x+1", "1+x")  # what sympy does for the first time is done once, before the limit counts
    symbolic.equal = stopped
    return symbolic.classes(answers)


def test_votes_do_not_depend_on_how_busy_the_machine_is():
    with Workers(1) as workers:
        call = f"{__file__}:classes_with_a_stop_in_every_comparison"
        assert workers.call_sync(call, (["x+1", "1+x"],), timeout_s=LONG_S) == [0, 0]


def classes_with_a_short_limit(answers):
    symbolic.equal("x+1", "1+x")  # what sympy does for the first time is done once, before the limit counts
    symbolic.PAIR_LIMIT_S = 0.5
    return symbolic.classes(answers)


def test_one_answer_that_hangs_does_not_cost_the_others_their_votes():
    answers = ["x+1", POWER_TOWER, "1+x", "(10^9)!", r"9^{9^9}", POWER_TOWER, "(" * 200 + "1" + ")" * 200, "x+1"]
    with Workers(1) as workers:
        classes = workers.call_sync(f"{__file__}:classes_with_a_short_limit", (answers,), timeout_s=LONG_S)
    assert classes[:6] + classes[7:] == [0, -2, 0, -3, -4, -2, 0]
    assert classes[6] in (4, -5)


def test_model_text_is_never_executed(workers, reasoning_gym, tmp_path):
    target = tmp_path / "written"
    attack = f"__import__('os').system('touch {target}')"
    texts = [attack, f"\\text{{{attack}}}", f"1 + {attack}", f"[{attack}]"]

    async def main():
        grader = MathGrader(workers, timeout_s=LONG_S)
        verdicts = [await grader.grade(text, "7", PROBLEM) for text in texts]
        for source in ("countdown", "puzzle24", "simple_integration", "n_queens", "spiral_matrix"):
            task = load(f"reasoning-gym:{source}?size=1&seed=7")
            gym = ReasoningGymGrader(task.grader, reasoning_gym, timeout_s=LONG_S)
            example = task.examples[0]
            assert await gym.grade(example.reference, example.reference, example.problem) is True
            verdicts += [await gym.grade(text, example.reference, example.problem) for text in texts]
        return verdicts

    assert not any(asyncio.run(main()))
    assert not target.exists()


def test_reasoning_gym_answers_are_scored_by_their_dataset(reasoning_gym):
    task = load("reasoning-gym:countdown?size=2&seed=7")
    example = task.examples[0]

    async def main():
        grader = grader_named(task.grader, reasoning_gym)
        answers = [example.reference, f"({example.reference})", f"{example.reference} + 1 - 1", None]
        verdicts = [await grader.grade(answer, example.reference, example.problem) for answer in answers]
        hasty = ReasoningGymGrader(task.grader, reasoning_gym, timeout_s=0.5)
        with pytest.raises(CallTimedOut):
            await hasty.grade("9**9**9**9", example.reference, example.problem)
        return verdicts

    assert asyncio.run(main()) == [True, True, False, False]


def test_a_scorer_needs_the_reference_and_the_right_problem(reasoning_gym):
    task = load("reasoning-gym:chain_sum?size=2&seed=7")
    example = task.examples[0]

    async def main():
        grader = grader_named(task.grader, reasoning_gym)
        with pytest.raises(BadProblem, match="another reference"):
            await grader.grade(example.reference, "guess", example.problem)
        with pytest.raises(BadProblem, match="has no problem 'p1'"):
            await grader.grade(example.reference, example.reference, PROBLEM)

    asyncio.run(main())


def test_problems_without_a_reference_of_their_own_are_scored_too(reasoning_gym):
    task = load("reasoning-gym:rush_hour?size=1&seed=7")
    example = task.examples[0]
    assert example.reference == ""

    async def main():
        grader = grader_named(task.grader, reasoning_gym)
        await grader.check_reference(example.reference, example.problem)
        return await grader.grade("no idea", example.reference, example.problem)

    assert asyncio.run(main()) is False


def test_an_unknown_grader_is_named_with_those_there_are(workers):
    with pytest.raises(UnknownName, match="Did you mean 'math'"):
        grader_named("maths", workers)
    assert isinstance(grader_named("exact", workers), ExactGrader)


@pytest.mark.parametrize(
    ("absent", "grader", "extra"),
    [("math_verify", "math", "math"), ("reasoning_gym", "reasoning-gym:chain_sum", "tasks")],
)
def test_a_grader_whose_package_is_absent_says_what_to_install(absent, grader, extra):
    code = f"""
import sys
sys.modules[{absent!r}] = None
from tts.errors import MissingExtra
from tts.tasks.graders import grader_named
from tts.workers.killable_processes import Workers
try:
    grader_named({grader!r}, Workers(1))
except MissingExtra as error:
    print(error.message)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"pip install 'test-time-scaling[{extra}]'" in said


@pytest.mark.parametrize("function", ["tts.answers.symbolic:parses", "tts.tasks.reasoning_gym:entries"])
def test_a_worker_without_the_package_says_so_too(function, tmp_path, monkeypatch):
    for package in ("math_verify", "reasoning_gym"):
        (tmp_path / f"{package}.py").write_text("raise ImportError('not here')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with Workers(1) as workers, pytest.raises(MissingExtra, match="pip install"):
        workers.call_sync(function, (["x", "y"],), timeout_s=LONG_S)


def test_importing_graders_and_tasks_loads_no_algebra():
    code = "import sys, tts.tasks.graders, tts.tasks.sources, tts.answers.equivalence; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sympy", "math_verify", "reasoning_gym", "numpy"}.intersection(loaded)
