"""The code of a reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.answers.code import last_block
from tts.answers.equivalence import classes, extract, same

LINES = st.lists(st.text(alphabet="ab :=\t", max_size=8).filter(str.strip), min_size=1, max_size=5)


@given(LINES, st.sampled_from(["", "python", "py", "Python"]), st.text(alphabet="ab \n", max_size=9))
def test_a_block_is_read_as_it_was_written(lines: list[str], language: str, around: str) -> None:
    code = "\n".join(["x", *(line.rstrip() for line in lines)])
    assert last_block(f"{around}\n```{language}\n{code}\n```\n{around}") == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no block", None),
        ("```python\nx = 1", None),  # it was cut
        ("```\n```", None),
        ("```python\nx = 1\n```\nor\n```py\nx = 2\n```", "x = 2"),
        ("```python\nx = 1\n```\nIt prints\n```text\n1\n```", "x = 1"),
        ("- first\n  ```python\n  def f():\n      return 1\n  ```", "def f():\n    return 1"),
        ("````python\na = '''\n```\n'''\n````", "a = '''\n```\n'''"),
        ("Use ```x = 1``` here", None),
    ],
)
def test_the_last_closed_block_of_python_counts(text: str, code: str | None) -> None:
    assert last_block(text) == code
    assert extract(text, "code") == code
    assert extract(text, "code", complete=False) == code


def test_thoughts_hold_no_code() -> None:
    assert extract("<think>\n```python\nx = 1\n```\n</think>\n```python\nx = 2\n```", "code") == "x = 2"
    assert extract("<think>\n```python\nx = 1\n```\n</think>\nNothing.", "code") is None


def test_programs_are_the_same_only_where_their_texts_are() -> None:
    one, other = "def f(x):\n    return x + 1", "def f(x):\n    return 1 + x"
    assert same(one, one) is True and same(one, other) is False and same(one, "2") is False
    assert classes([one, other, one]) == [0, 1, 0]
