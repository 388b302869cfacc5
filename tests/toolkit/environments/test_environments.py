"""The tools of the lookup world, and the calculator beside them: exact, and answered in words where they cannot."""

import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.messages import ToolCall
from tts.toolkit.environments.calculator import calculate
from tts.toolkit.environments.lookup import TOOLS, Lookup, called
from tts.toolkit.tools import refusal

LINKS = {"Ada": "482", "482": "Oslo", "Oslo": "Ada"}
REFUSED = ["9**9", "__import__('os')", "True+1", "1e9", "1_0", "007+1", "", "2(3)", "(" * 150, "9" * 201]


@given(st.integers(0, 10**9), st.integers(1, 10**9), st.sampled_from("+-*/"), st.booleans())
def test_a_value_is_the_exact_one(a: int, b: int, sign: str, negative: bool) -> None:
    apply = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[sign]
    value = apply(Fraction(a), Fraction(b)) * (-1 if negative else 1)
    found = calculate(f"-({a} {sign} {b})" if negative else f"{a}{sign}{b}")
    if value.denominator == 1:
        assert found == str(value)
    else:
        assert abs(Fraction(found) - value) <= abs(value) / 10**11


def test_decimals_are_read_as_they_are_written() -> None:
    assert calculate("0.1+0.2") == "0.3" and calculate("1.5*2") == "3"


@given(st.text(max_size=250) | st.text("0123456789.+-*/() ", max_size=40))
def test_a_calculator_answers_any_text_in_words(text: str) -> None:
    assert isinstance(calculate(text), str)


@pytest.mark.parametrize("text", REFUSED)
def test_a_calculator_reads_numbers_signs_and_brackets_alone(text: str) -> None:
    assert calculate(text).startswith("Error: an expression has numbers")


def test_a_call_is_answered_from_the_world_it_was_given() -> None:
    assert called(LINKS, "lookup", {"key": "Ada"}) == "482"
    assert called(LINKS, "lookup", {"key": 482}) == "Oslo"  # models write numbers without quotes
    assert called(LINKS, "lookup", {"key": "Bo"}) == "Error: there is no key Bo."
    assert called(LINKS, "calculate", {"expression": "482+1"}) == "483"
    for name, arguments in [("lookup", {}), ("guess", {"key": "Ada"})]:
        assert called(LINKS, name, arguments).startswith("Error: call lookup with a key")


def test_a_session_answers_as_the_function_does() -> None:
    world = Lookup(LINKS)
    assert world.step({"name": "lookup", "arguments": {"key": "Ada"}}) == "482"
    assert world.step({"name": "calculate", "arguments": {"expression": "2*3"}}) == "6"


def test_a_call_that_the_tools_do_not_take_is_refused_with_the_reason() -> None:
    assert refusal(ToolCall("c", "lookup", '{"key": "Ada"}'), TOOLS) is None
    assert refusal(ToolCall("c", "lookup", "{}"), TOOLS) is not None
