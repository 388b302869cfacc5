"""GenSelect: a choice from a list, group by group."""

from tts import Candidate, Problem, Run

CHOOSE = "{problem}\n\n{solutions}\n\nWhich of these solutions is the best? Reply with its number alone."


async def genselect(problem: Problem, run: Run, *, n: int = 8, window: int = 4) -> Candidate:
    """Have the model choose the best of each `window` candidates, until one is left.

    Toshniwal et al. (2025), arXiv:2507.17797. Differences from the paper: solutions are shown whole, not as summaries;
    a group whose choice failed is out.
    """

    async def best(group: list[Candidate]) -> Candidate:
        if len(group) == 1:
            return group[0]
        shown = "\n\n".join(f"Solution {i}:\n{c.text}" for i, c in enumerate(group))
        prompt = CHOOSE.format(problem=problem.prompt, solutions=shown)
        (reply,) = await run.ask(prompt, schema={"type": "integer", "enum": [*range(len(group))]}, temperature=0.0)
        return group[reply.parsed]

    left = await run.generate(n=n)
    run.fallback = lambda *_: left[0]
    while len(left) > 1:
        left = await run.gather(*(best(left[i : i + window]) for i in range(0, len(left), window)))
    return left[0]


def rehearse(request, random):
    if request.schema:
        return str(random.choice([*request.schema["enum"], "none of them"]))
