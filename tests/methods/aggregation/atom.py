"""Atom of Thoughts: a question contracted to a simpler one, in front of any strategy."""

from tts import Candidate, Problem, Run
from tts.toolkit.prompts.decomposition import CONTRACT, NOTHING, SPLIT, contracted, known, part, questions, references

SYNTHESISE = "{q}\n\nSolutions:\n\n{solutions}\n\nSolve the problem. End in the form that it asks for."


async def atom(problem: Problem, run: Run, *, depth: int = 1, strategy: str = "single") -> Candidate:
    """Solve the question, and the simpler ones that it is contracted to; choose what their synthesis agrees with.

    Teng et al. (2025), arXiv:2502.12018. Differences from the paper: any strategy solves, also the sub-questions that
    need no other's answer, which the paper reads off a solution; the score of a solution is its agreement with the
    synthesis; contraction goes on, as the paper says and its code does not.
    """

    async def solved(number: int, text: str) -> tuple[int, str | None]:
        return number, (await run.solve(strategy, part(text, NOTHING))).answer

    direct = await run.solve(strategy)
    run.fallback = lambda *_: direct
    found, question = [direct], problem.prompt
    for _ in range(depth):
        (split,) = await run.ask(SPLIT.format(problem=question))
        parts = questions(split.text) or []
        first = [number for number, text in enumerate(parts, 1) if not references(text)]
        if len(first) in (0, len(parts)):
            break  # there is nothing that depends on something else
        found_parts = await run.gather(*(solved(number, parts[number - 1]) for number in first))
        answers = {number: answer for number, answer in found_parts if answer is not None}
        if not answers:
            break
        (reply,) = await run.ask(CONTRACT.format(problem=question, known=known(parts, answers)))
        question = contracted(reply.text) or question
        found.append(await run.solve(strategy, question))
    solutions = "\n\n".join(c.text for c in found)
    whole = await run.solve(strategy, SYNTHESISE.format(q=problem.prompt, solutions=solutions))
    return next((c for c in found if c.answer == whole.answer), direct)


def rehearse(request, random):
    if "Do not solve this" in request.messages[-1].content:
        return random.choice(("1. What is 1 + 1?\n2. What is #1 + 2?", "1. What is 1 + 1?", "1 + 1, then 2 + 2"))
