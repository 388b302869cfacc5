"""A calculator for models: exact. No text of a model is executed: numbers, + - * / and brackets are all it reads."""

from __future__ import annotations

import ast
import operator
import re
from fractions import Fraction

from tts.messages import Tool

EXPRESSION = {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}
CALCULATOR = Tool("calculate", "The value of numbers with + - * / and brackets.", EXPRESSION)

_WRITTEN = re.compile(r"[0-9.+*/() -]{1,200}")  # the length bounds the value, too
_DIGITS = 12  # of a value that is no whole number
_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def calculate(expression: str) -> str:
    """The value of an expression; of one that has none, the reason, which a model can read as well."""
    text = expression.strip()
    try:
        if not _WRITTEN.fullmatch(text):
            raise ValueError("a character that no expression has")
        value = _value(ast.parse(text, mode="eval").body, text)
    except ZeroDivisionError:
        return "Error: division by zero."
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "Error: an expression has numbers, + - * / and brackets alone, and at most 200 characters."
    return str(value) if value.denominator == 1 else f"{float(value):.{_DIGITS}g}"


def _value(node: ast.expr, text: str) -> Fraction:
    match node:
        case ast.Constant():
            return Fraction(ast.get_source_segment(text, node) or "")  # as written: 0.1 is a tenth
        case ast.UnaryOp(ast.USub(), inner):
            return -_value(inner, text)
        case ast.BinOp(left, operation, right) if type(operation) in _OPERATIONS:
            found: Fraction = _OPERATIONS[type(operation)](_value(left, text), _value(right, text))
            return found
    raise ValueError(f"not of a calculator: {ast.dump(node)}")
