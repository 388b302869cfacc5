"""Self-refine: one conversation of solutions and critiques."""

from tts import Candidate, Problem, Run
from tts.types import Message

CRITIQUE = "Look at your solution. What is wrong with it? If nothing is, reply: no mistakes."
AGAIN = "Now solve the problem again, without these mistakes. End in the form the problem asks for."


async def self_refine(problem: Problem, run: Run, *, rounds: int = 2) -> Candidate:
    """Have the model criticise its solution and solve the problem anew, until it finds no mistake.

    Madaan et al. (2023), arXiv:2303.17651. Differences from the paper: no examples in the prompts; the latest solution
    is the answer, unless the budget or a failure ends the conversation.
    """
    (best,) = await run.generate()
    run.fallback = lambda *_: best
    talk = problem.messages
    for _ in range(rounds):
        talk += (Message("assistant", best.text), Message("user", CRITIQUE))
        (critique,) = await run.ask(talk)
        if "no mistakes" in critique.text.lower():
            break
        talk += (Message("assistant", critique.text), Message("user", AGAIN))
        (best,) = await run.generate(talk, parent=best)
    return best


def rehearse(request, random):
    if request.messages[-1].content == CRITIQUE:
        return random.choice(("No mistakes.", "The sum is wrong."))
