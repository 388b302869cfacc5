"""An agent with a calculator, whose budget is its steps."""

import re

from tts import Candidate, Problem, Run
from tts.types import Message

SYSTEM = "You solve problems with a calculator. To use it, write one line CALC: EXPRESSION. To finish, write Answer: N."
CHECK = "Before that counts: look again. Either confirm with the same Answer line, or go on with CALC."


def calculate(expression: str) -> str:
    """The value of a sum of numbers; text, because an agent reads it."""
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
    talk, last = (Message("system", SYSTEM), Message("user", problem.prompt)), None
    run.fallback = lambda found, _: next((c for c in reversed(found) if c.answer is not None), None)
    for _ in range(horizon):
        (last,) = await run.generate(talk, parent=last, stop="\nRESULT", max_tokens=96)
        talk += (Message("assistant", last.text),)
        if call := re.search(r"CALC:\s*(.+)", last.text):
            talk += (Message("user", f"RESULT: {await run.call(calculate, call[1])}"),)
        elif "Answer:" in last.text and checks:
            talk, checks = (*talk, Message("user", CHECK)), checks - 1
        else:
            break
    return last


def rehearse(request, random):
    return random.choice(("CALC: 2+2", "CALC: 2+x", "Answer: 4", "Answer: 3", "Well."))
