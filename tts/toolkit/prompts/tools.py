"""Acting with tools: the system turn of an agent, and the second look that it takes before its answer counts.

Yao et al. (2022), ReAct, arXiv:2210.03629, and Shen et al. (2025), Thinking vs. Doing, arXiv:2506.07976. Differences
from the papers: calls and results are turns of the chat, as servers have them, not text that a stop string cuts.
"""

from __future__ import annotations

from tts.messages import Message, Prompt
from tts.types import Problem

ACT = (
    "Use the tools for what you cannot see; never guess it. In one line say what you do next, then call one tool. "
    "A reply without a call is your answer, in the form that the question asks for."
)

CHECK_AGAIN = (
    "Check your calls and their results before this answer counts. Go on from the first that is missing or wrong; if "
    "there is none, give the same answer again."
)


def acting(problem: Problem) -> Prompt:
    """The turns that open the chat: one system turn, behind the problem's own text of it, then the problem."""
    turns = problem.messages
    system = [turn.content for turn in turns if turn.role == "system"]
    return (Message("system", "\n\n".join([*system, ACT])), *(turn for turn in turns if turn.role != "system"))
