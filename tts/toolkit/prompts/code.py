"""Programs in Python: written to a description, tested by a model's own tests, and mended after a test that failed.

CodeMonkeys (Ehrlich et al. 2025, arXiv:2501.14723), S* (Li et al. 2025, arXiv:2502.14382) and CodeT (Chen et al. 2022,
arXiv:2207.10397) ask for these. Differences from the papers: one function in place of a repository or a whole program;
a test is one assert, which a comment works out first.
"""

from __future__ import annotations

import ast

from tts.answers.code import last_block
from tts.answers.extract import without_thinking

PROGRAM = """{description}

Reply with the function alone, in one ```python block."""

TESTS = """{problem}

Do not write the function yet. Write {n} tests of it: lines such as `assert f(1) == 2`, one call each, with arguments \
that a careless program gets wrong. Before each, a comment works out what is right by the description. Reply with one \
```python block."""

REPAIR = """{problem}

This program was written for it:
```python
{program}
```
It does not pass this test:
{test}
{seen}
Check the test against the description. If the test is wrong, repeat the program; else mend it. Reply with the whole \
function in one ```python block."""


def repair(problem: str, program: str, test: str, error: str = "") -> str:
    """The prompt for a program that passes a test. Args: error: the name of the error that it ends with, if known."""
    seen = f"It ends with {error}.\n" if error else ""
    return REPAIR.format(problem=problem, program=program, test=test, seen=seen)


def program_in(text: str) -> str | None:
    """The program of a reply: its last block of code; None for a reply without one, or a block that is no Python or
    has no function."""
    block = last_block(without_thinking(text) or "")
    tree = _parsed(block)
    return block if tree is not None and any(isinstance(node, ast.FunctionDef) for node in tree.body) else None


def tests_in(text: str) -> tuple[str, ...] | None:
    """The tests of a reply, each the text of one assert; None for a reply whose last block has none, or anything
    else."""
    block = last_block(without_thinking(text) or "")
    tree = _parsed(block)
    if block is None or tree is None or not tree.body or not all(isinstance(node, ast.Assert) for node in tree.body):
        return None
    return tuple(ast.get_source_segment(block, node) or "" for node in tree.body)


def _parsed(block: str | None) -> ast.Module | None:
    try:
        return None if block is None else ast.parse(block)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a null character; too deep for the parser
        return None
