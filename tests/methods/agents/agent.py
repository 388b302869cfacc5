"""An agent with a calculator, and the keys of a lookup world where its problem has one; its budget is its steps."""

from tts import Candidate, Problem, Run
from tts.messages import Message, ToolCall
from tts.toolkit.environments.calculator import CALCULATOR
from tts.toolkit.environments.lookup import TOOLS, called
from tts.toolkit.prompts.tools import CHECK_AGAIN, acting
from tts.toolkit.tools import refusal


async def agent(problem: Problem, run: Run, *, horizon: int = 6, checks: int = 1) -> Candidate:
    """Let the model act for at most `horizon` steps, and ask it to check its answer before that counts.

    Shen et al. (2025), Thinking vs. Doing, arXiv:2506.07976. Differences from the paper: tools without a state; the
    horizon is fixed, not learnt.
    """
    links = problem.facts.get("links") or {}
    tools = TOOLS if links else (CALCULATOR,)

    async def result(call: ToolCall) -> Message:
        refused = refusal(call, tools)
        return refused or call.result(await run.call(called, links, call.name, call.parsed))

    talk, last = acting(problem), None
    run.fallback = lambda found, _: next((c for c in reversed(found) if c.answer is not None), None)
    for _ in range(horizon):
        (last,) = await run.generate(talk, parent=last, tools=tools)
        calls = last.completion.tool_calls
        if not calls and not checks:
            break
        results = [await result(call) for call in calls]
        talk += (last.completion.message, *(results or [Message("user", CHECK_AGAIN)]))
        checks -= not calls
    return run.pick()
