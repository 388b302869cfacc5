"""A judge of two solutions, which sees them in both orders."""

import re
from collections import Counter

from tts import Candidate, Problem, Run

PAIR = "{q}\n\nSolution A:\n{a}\n\nSolution B:\n{b}\n\nWhich is better? End with [[A]], [[B]], or [[C]] for a tie."


async def pairwise(problem: Problem, candidates: list[Candidate], run: Run, *, games: int = 1) -> list[int]:
    """Count the games that each of two candidates wins, of `games` in either order.

    Zheng et al. (2023), arXiv:2306.05685, section 3.4. Differences from the paper: a win in one order counts, whatever
    the other order says.
    """
    won: Counter[str] = Counter()

    async def play(a: Candidate, b: Candidate) -> None:
        prompt = PAIR.format(q=problem.prompt, a=a.text, b=b.text)
        for reply in await run.ask(prompt, n=games, max_tokens=200):
            for verdict in re.findall(r"\[\[([AB])\]\]", reply.text)[-1:]:
                won[a.id if verdict == "A" else b.id] += 1

    one, two = candidates
    await run.gather(play(one, two), play(two, one))
    return [won[one.id], won[two.id]]


def rehearse(request, random):
    if "[[C]] for a tie" in request.messages[-1].content:
        return random.choice(("Both are fine. [[C]]", "[[A]]", "The second. [[B]]", "I cannot tell."))
