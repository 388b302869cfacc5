"""An agent with a calculator, whose budget is its steps."""

import re

from tts import Candidate, Problem, Run
from tts.messages import Message, Tool

EXPRESSION = {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}
CALCULATOR = Tool("calculate", "The value of an expression of numbers, + - * / and brackets.", EXPRESSION)
CHECK = "Before that counts: look again. Either confirm your answer in the same form, or go on with the calculator."


def calculate(expression: str) -> str:
    """The value of an expression of numbers; text, because an agent reads it."""
    if not re.fullmatch(r"[0-9+*/() .-]{1,80}", expression):
        return "error: only numbers and + - * / ( )"
    try:
        return str(eval(expression, {"__builtins__": {}}))
    except Exception as error:
        return f"error: {error}"


async def agent(problem: Problem, run: Run, *, horizon: int = 6, checks: int = 1) -> Candidate:
    """Let the model act for at most `horizon` steps, and ask it to check its answer before that counts.

    Shen et al. (2025), Thinking vs. Doing, arXiv:2506.07976. Differences from the paper: the environment is a
    calculator without a state; the horizon is fixed, not learnt.
    """
    talk, last = problem.messages, None
    run.fallback = lambda found, _: next((c for c in reversed(found) if c.answer is not None), None)
    for _ in range(horizon):
        (last,) = await run.generate(talk, parent=last, tools=[CALCULATOR])
        calls = last.completion.tool_calls
        if not calls and not checks:
            break
        results = [call.result(await run.call(calculate, str((call.parsed or {}).get("expression")))) for call in calls]
        talk += (last.completion.message, *(results or [Message("user", CHECK)]))
        checks -= not calls
    return run.pick()
