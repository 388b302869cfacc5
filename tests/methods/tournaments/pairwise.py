"""A judge of two solutions, which sees them in both orders."""

from collections import Counter

from tts import Candidate, Problem, Run
from tts.toolkit.prompts.pairs import comparison, decision


async def pairwise(problem: Problem, candidates: list[Candidate], run: Run, *, games: int = 1) -> list[int]:
    """Count the games that each of two candidates wins, of `games` in either order.

    Zheng et al. (2023), arXiv:2306.05685, section 3.4. Differences from the paper: a win in one order counts, whatever
    the other order says.
    """
    won: Counter[str] = Counter()

    async def play(a: Candidate, b: Candidate) -> None:
        for reply in await run.ask(comparison(problem.prompt, a.text, b.text), n=games, max_tokens=400):
            preferred = decision(reply.text)
            won[a.id] += preferred == "A>B"
            won[b.id] += preferred == "B>A"

    one, two = candidates
    await run.gather(play(one, two), play(two, one))
    return [won[one.id], won[two.id]]


def rehearse(request, random):
    if "[[C]] for a tie" in request.messages[-1].content:
        return random.choice(("Both are fine. [[C]]", "[[A]]", "The second. [[B]]", "I cannot tell."))
