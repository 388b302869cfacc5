"""Programs and tests are read strictly; prompts are written as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.toolkit.prompts.code import PROGRAM, REPAIR, TESTS, program_in, repair
from tts.toolkit.prompts.code import tests_in as read_tests

NAMES = st.from_regex(r"[a-h]{1,4}", fullmatch=True)
FUNCTION = "def solve(n):\n    return n + 1"


@given(NAMES, st.integers(), st.text(alphabet="ab`\n ", max_size=20))
def test_what_is_written_is_read(name: str, value: int, before: str) -> None:
    function = f"def f{name}(x):\n    return {value}"
    assert program_in(f"{before}\n\n```python\n{function}\n```") in (function, None)
    assert program_in(f"Well.\n```python\n{function}\n```\n{before.replace('`', '')}") == function
    test = f"assert f{name}({value}) == {value}"
    assert read_tests(f"```python\n# {value}\n{test}\n{test}  # twice\n```") == (test, test)


@given(st.text(max_size=80))
def test_any_reply_is_read_or_is_none(text: str) -> None:
    assert program_in(text) is None
    assert program_in(f"```python\n{text}\n```") is None or "def" in text
    assert read_tests(f"```python\n{text}\n```") is None or "assert" in text


@pytest.mark.parametrize(
    "reply",
    [
        FUNCTION,
        "```python\nreturn 1\n```",
        "```python\nx = 1\n```",
        "```python\ndef solve(n) return n\n```",
        f"```python\n{FUNCTION}",
        f"<think>```python\n{FUNCTION}\n```</think>",
    ],
)
def test_what_is_no_program_is_not_read(reply: str) -> None:
    assert program_in(reply) is None


@pytest.mark.parametrize(
    "block",
    ["", "# nothing", "x = 1\nassert f(1) == 1", "import f\nassert f(1) == 1", "def test(): assert f(1) == 1", "f(1)"],
)
def test_a_block_with_anything_but_asserts_has_no_tests(block: str) -> None:
    assert read_tests(f"```python\n{block}\n```") is None


def test_a_test_may_take_several_lines() -> None:
    assert read_tests("```python\nassert f(\n    1,\n) == 2\n```") == ("assert f(\n    1,\n) == 2",)


def test_prompts_hold_what_they_are_given_and_nothing_of_a_template() -> None:
    odd = "def f(x):\n    return f'{x}' or {}"
    prompt = repair("What {is} it?", odd, "assert f(1) == '{1}'", "KeyError")
    assert odd in prompt and "What {is} it?" in prompt and "\nassert f(1) == '{1}'\nIt ends with KeyError.\n" in prompt
    assert "It ends" not in repair("?", odd, "assert f(1)")
    for template in (PROGRAM, TESTS, REPAIR):
        assert len(template.split()) < 80
