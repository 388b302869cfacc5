"""A process reward: the probability that a prefix is right so far, of a chat model that is asked for it."""

from tts import Candidate, Problem, Run
from tts.toolkit.prompts.steps import SAMPLING, last_step, probability_of_right


async def prm(problem: Problem, candidates: list[Candidate], run: Run) -> list[float | None]:
    """Ask whether the last step of each candidate is right, and read P(+) from one token.

    Wang et al. (2024), Math-Shepherd, arXiv:2312.08935, whose labels are + and -. Differences from the paper: a chat
    model is asked, step by step; nothing is trained.
    """

    async def score(candidate: Candidate) -> tuple[str, float | None]:
        (reply,) = await run.ask(last_step(problem.prompt, candidate.text), **SAMPLING)
        return candidate.id, probability_of_right(reply)

    scores = dict(await run.gather(*map(score, candidates)))  # without those that the budget holds no more
    return [scores.get(candidate.id) for candidate in candidates]


def rehearse(request, random):
    return random.choice("+-") if "Reply with + or -" in request.messages[-1].content else None
