"""Exact constraint checks, for problems that state what an answer must satisfy without stating the answer.

A problem opts in through its public `facts`: `{"constraint": "countdown", "numbers": [3, 5, 7], "target": 26}`. Where
no constraint is named, numbers and a target are taken for a CountDown (`reasoning-gym:countdown` states these two).
"""

from __future__ import annotations

import ast
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from tts.types import Candidate, Problem, Score, ScoreKind

_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LONGEST = 300  # characters: no CountDown expression needs more, and parsing stays bounded
_EXPRESSION = re.compile(r"[0-9+*/() -]*")  # one line of ASCII: no names, no attributes, no digits of other scripts


class Constraint:
    """1 if the answer satisfies the problem's own constraint, 0 if it does not, an abstention if there is none."""

    name = "constraint"
    kind: ScoreKind = "pass_rate"

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        check = CHECKS.get(str(problem.facts.get("constraint", "countdown")))
        if check is None or not {"numbers", "target"} <= problem.facts.keys():
            return Score(None, self.name, self.kind, text="the problem states no constraint that can be checked")
        if candidate.answer is None:
            return Score(0.0, self.name, self.kind, text="no answer")
        reason = check(candidate.answer, problem.facts)
        return Score(float(reason is None), self.name, self.kind, text=reason or "")


def countdown(answer: str, facts: Mapping[str, Any]) -> str | None:
    """Check that an expression uses each of `numbers` at most once and makes `target`: None, or the fault in words."""
    expression = answer.split("=", maxsplit=1)[0].strip()
    if len(expression) > _LONGEST:
        return "too long to be an expression"
    if not _EXPRESSION.fullmatch(expression):
        return "not an expression of whole numbers, + - * / and brackets"
    used: list[int] = []
    try:
        value = _evaluate(ast.parse(expression, mode="eval").body, used)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError) as error:
        return f"not an expression: {error}"
    extra = Counter(used) - Counter(int(n) for n in facts["numbers"])
    if extra:
        return f"uses numbers it does not have: {sorted(extra.elements())}"
    if facts.get("use_all", True) and len(used) != len(facts["numbers"]):
        return "does not use every number"
    return None if value == int(facts["target"]) else f"makes {value}, not {facts['target']}"


def _evaluate(node: ast.expr, used: list[int]) -> Fraction:
    """Evaluate the four operations on whole numbers, and no other code, because a model wrote the text."""
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left, used), _evaluate(right, used))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, used)
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            used.append(value)
            return Fraction(value)
    raise ValueError(f"{ast.unparse(node)[:40]} is not allowed")


CHECKS: Mapping[str, Callable[[str, Mapping[str, Any]], str | None]] = {"countdown": countdown}
