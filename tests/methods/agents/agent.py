"""An agent with a calculator, and the keys of a lookup world where its problem has one; its budget is its steps."""

from tts import Candidate, Problem, Run
from tts.messages import Message
from tts.toolkit.environments.calculator import CALCULATOR
from tts.toolkit.environments.lookup import TOOLS, Lookup
from tts.toolkit.prompts.tools import CHECK_AGAIN, acting
from tts.toolkit.tools import refusal


async def agent(problem: Problem, run: Run, *, horizon: int = 6, checks: int = 1) -> Candidate:
    """Let the model act for at most `horizon` turns, and ask it to check its answer before that counts.

    Shen et al. (2025), Thinking vs. Doing, arXiv:2506.07976. Differences from the paper: the tools only tell and
    change nothing; the horizon is fixed, not learnt.
    """
    links = problem.facts.get("links") or {}
    tools = TOOLS if links else (CALCULATOR,)
    talk, last = acting(problem), None
    run.fallback = lambda found, _: next((c for c in reversed(found) if c.answer is not None), None)
    async with run.session(Lookup, links) as world:
        for _ in range(horizon):
            (last,) = await run.generate(talk, parent=last, tools=tools)
            calls = last.completion.tool_calls
            if not calls and not checks:
                break
            talk += (last.completion.message,)
            for call in calls:
                action = {"name": call.name, "arguments": call.parsed}
                talk += (refusal(call, tools) or call.result(await world.step(action)),)
            if not calls:
                talk, checks = (*talk, Message("user", CHECK_AGAIN)), checks - 1
    return run.pick()
