"""GenSelect: a choice from a list, group by group."""

from tts import Candidate, Problem, Run
from tts.toolkit.prompts.lists import BEST, choice, chosen


async def genselect(problem: Problem, run: Run, *, n: int = 8, window: int = 4) -> Candidate:
    """Have the model choose the best of each `window` candidates, until one is left.

    Toshniwal et al. (2025), arXiv:2507.17797. Differences from the paper: solutions are shown whole, not as summaries;
    of a group whose choice cannot be read, the first goes on.
    """

    async def best(group: list[Candidate]) -> Candidate:
        if len(group) == 1:
            return group[0]
        prompt = choice(BEST, problem.prompt, [c.text for c in group])
        (reply,) = await run.ask(prompt, temperature=0.0, max_tokens=400)
        return group[chosen(reply.text, len(group)) or 0]

    left = await run.generate(n=n)
    run.fallback = lambda *_: left[0]
    while len(left) > 1:
        left = await run.gather(*(best(left[i : i + window]) for i in range(0, len(left), window)))
    return left[0]


def rehearse(request, random):
    if "is the best" in request.messages[-1].content:
        return random.choice(("[[1]]", "The second one. [[2]]", "none of them"))
