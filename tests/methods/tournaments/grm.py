"""DeepSeek-GRM as a judge: sampled principles and critiques, the sound ones of which are added up."""

from tts import Candidate, Problem, Run
from tts.toolkit.prompts.scores import by_principles, score

SOUND = "{q}\n\nA critique of a solution:\n{critique}\n\nHow sound is it? Reply with a number from 1 to 10."


async def grm(
    problem: Problem, candidates: list[Candidate], run: Run, *, k: int = 4, keep: int = 2
) -> list[int | None]:
    """Add up the scores of the `keep` soundest of k critiques of each candidate; one without a score does not count.

    Liu et al. (2025), arXiv:2504.02495. Differences from the paper: each candidate is judged by itself; the model is
    not trained for it; the meta reward model is the model itself, asked for a number.
    """

    async def judged(candidate: Candidate) -> tuple[Candidate, int, int | None]:
        (said,) = await run.ask(by_principles(problem.prompt, candidate.text), temperature=0.5, max_tokens=400)
        prompt = SOUND.format(q=problem.prompt, critique=said.text)
        (sound,) = await run.ask(prompt, schema={"type": "integer"}, temperature=0.0)
        return candidate, sound.parsed, score(said.text)

    critiques = await run.gather(*(judged(candidate) for candidate in candidates for _ in range(k)))
    ranked = sorted(critiques, key=lambda critique: -critique[1])
    values = [[value for of, _, value in ranked if of is c and value is not None][:keep] for c in candidates]
    return [sum(kept) if kept else None for kept in values]


def rehearse(request, random):
    if request.schema:
        return str(random.randint(1, 10))
    if "Score: N" in request.messages[-1].content:
        return random.choice((f"Short.\nScore: {random.randint(1, 10)}", "It is good."))
