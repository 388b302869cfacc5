"""Answers that are checked against the problem's constraint: CountDown."""

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import candidate

from tts.tasks import sources as tasks
from tts.testing import Sample, ScriptedCluster
from tts.types import Problem
from tts.verifiers.rules.constraint import Constraint, countdown

FACTS = {"constraint": "countdown", "numbers": [3, 5, 7], "target": 26}


@st.composite
def expressions(draw, depth=3):
    """(text, value or None for a division by zero, numbers used)."""
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        number = draw(st.sampled_from((2, 3, 4, 5, 25, 100)))
        negative = draw(st.booleans())
        return (f"-{number}" if negative else str(number), Fraction(-number if negative else number), [number])
    (left, a, used_a), (right, b, used_b) = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    op = draw(st.sampled_from("+-*/"))
    if a is None or b is None or (op == "/" and b == 0):
        value = None
    else:
        value = {"+": a + b, "-": a - b, "*": a * b}.get(op) if op != "/" else a / b
    space = draw(st.sampled_from(["", " "]))
    return f"({left}{space}){op}{space}({right})", value, used_a + used_b


@settings(max_examples=200, deadline=None)
@given(expressions(), st.data())
def test_countdown_agrees_with_exact_arithmetic_done_beside_it(expression, data):
    text, value, used = expression
    numbers = data.draw(st.permutations(used))
    if value is not None and value.denominator == 1:
        facts = {"numbers": numbers, "target": int(value)}
        assert countdown(text, facts) is None
        assert countdown(text, {**facts, "target": int(value) + 1}) is not None
        assert countdown(text, {**facts, "numbers": [*numbers, 9]}) == "does not use every number"
        assert countdown(text, {**facts, "numbers": [*numbers, 9], "use_all": False}) is None
        assert "uses numbers it does not have" in countdown(text, {**facts, "numbers": numbers[1:]})
    else:
        assert countdown(text, {"numbers": numbers, "target": 1}) is not None


def test_countdown_knows_what_python_s_eval_knows():
    text = "(3 + 5) * 7 - 3 / 5"
    assert countdown(text, {"numbers": [3, 5, 7, 3, 5], "target": 56}) == f"makes {Fraction(277, 5)}, not 56"
    assert countdown("3 * 7 + 5", FACTS) is None
    assert countdown("3 * 7 + 5 = 26", FACTS) is None
    assert countdown("7/3*3*3 + 5", {"numbers": [7, 3, 3, 3, 5], "target": 26}) is None  # exact, not nearly


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9**9",
        "3**26",
        "3<<26",
        "7//5",
        "26",
        "().__class__.__bases__[0].__subclasses__()",
        "__import__('os').system('true')",
        "(3).real",
        "f(3)",
        "[3, 5][7]",
        "lambda: 3",
        "3 if 5 else 7",
        "(x := 3)",
        "True + 5 + 7",
        "1e400",
        "3j",
        "0x1A",
        "2_6",
        "'3' + '5'",
        "\u0663 * 7 + 5",
        "\uff13 * 7 + 5",
        "\u00b3 * 7 + 5",
        "3 \u00d7 7 + 5",
        "3 * 7 + 5\x00",
        "3 * 7 + 5\n",
        "3 * 7\n+ 5",
        "3 * 7 + 5 # and more",
        "3 * 7 + 5;",
        "((3 * 7 + 5",
        "5 / (3 - 3)",
        "",
        "(" * 10_000 + "3" + ")" * 10_000,
        "(" * 140 + "3*7+5" + ")" * 140,
        "-" * 10_000 + "26",
        "1+" * 10_000 + "1",
        "9" * 100_000,
        "9" * 299,
        "*".join(["9" * 98] * 3),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_what_a_model_should_not_have_written_is_refused_quickly(text):
    facts = {"numbers": [3, 5, 7], "target": 26}
    started = time.process_time()
    reason = countdown(text, facts)
    assert time.process_time() - started < 5
    if text.strip() != "3 * 7 + 5" and text != "(" * 140 + "3*7+5" + ")" * 140:
        assert reason is not None
        assert len(reason) < 1000


def test_signs_and_brackets_may_be_stacked_as_deep_as_an_answer_is_long():
    assert countdown("-" * 280 + "3*7+5", FACTS) is None


@given(st.text(alphabet="0123456789+-*/() .=x\u0663", max_size=40))
def test_no_text_makes_the_checker_fail(text):
    score = Constraint().score(Problem("p", "?", facts=FACTS), candidate(text, text))
    assert score.value in (0.0, 1.0)


def test_the_constraint_abstains_where_there_is_nothing_to_check():
    for facts in ({}, {"constraint": "sudoku", "puzzle": []}, {"numbers": [7, 4, 4, 1]}, {"constraint": "countdown"}):
        assert Constraint().score(Problem("p", "?", facts=facts), candidate()).value is None


def test_a_candidate_without_an_answer_does_not_satisfy_the_constraint():
    score = Constraint().score(Problem("p", "?", facts=FACTS), candidate(answer=None))
    assert (score.value, score.kind) == (0.0, "pass_rate")


def test_the_constraint_checks_reasoning_gym_s_countdown_from_the_problem_to_the_selection():
    pytest.importorskip("reasoning_gym")
    for example in tasks.load("reasoning-gym:countdown?size=4&seed=7").examples:
        right = example.reference
        wrong = f"{right} + 1"
        script = [Sample(text=f"<answer>{text}</answer>") for text in (wrong, "I give up", right)]
        cluster = ScriptedCluster(script, verifiers={"constraint": Constraint()})
        outcome = cluster.run("best_of_n:n=3,verifier=constraint", example.problem)
        assert outcome.result.answer == right
        assert [s.value for scores in outcome.result.scores.values() for s in scores] == [0.0, 0.0, 1.0]
