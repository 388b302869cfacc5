"""Least-to-most prompting: a problem split into questions, each answered with the answers before it."""

from tts import Candidate, Problem, Run
from tts.toolkit.prompts.decomposition import COMBINE, SPLIT, known, part, questions


async def least_to_most(problem: Problem, run: Run, *, strategy: str = "single") -> Candidate:
    """Have any strategy answer the questions that a problem is split into, and then the problem.

    Zhou et al. (2022), arXiv:2205.10625. Differences from the paper: no examples in the prompts; a question is shown
    the answers before it without the problem; a problem that cannot be split is solved as it is.
    """
    (split,) = await run.ask(SPLIT.format(problem=problem.prompt))
    parts, answers = questions(split.text) or [], {}
    for number, text in enumerate(parts, 1):
        found = await run.solve(strategy, part(text, known(parts, answers)))
        if found.answer is not None:
            answers[number] = found.answer
    prompt = COMBINE.format(problem=problem.prompt, known=known(parts, answers)) if answers else problem.prompt
    return await run.solve(strategy, prompt)


def rehearse(request, random):
    if "Do not solve this" in request.messages[-1].content:
        return random.choice(("1. What is 1 + 1?\n2. What is #1 + 2?", "1 + 1, then 2 + 2"))
