"""DeepSeek-GRM as a judge: sampled principles and critiques, the sound ones of which are added up."""

from collections import Counter

from tts import Candidate, Problem, Run

CRITICISE = (
    "{q}\n\n{responses}\n\nState principles, and criticise each response by them. Reply in JSON: critique, scores."
)
SOUND = "{q}\n\nA critique of several responses:\n{critique}\n\nHow sound is it? Reply with a number from 1 to 10."


async def grm(problem: Problem, candidates: list[Candidate], run: Run, *, k: int = 4, keep: int = 2) -> list[int]:
    """Add up the scores of the `keep` soundest of k critiques, each of which sees the candidates in another order.

    Liu et al. (2025), arXiv:2504.02495. Differences from the paper: the model is not trained for it; the meta reward
    model is the model itself, asked for a number.
    """
    size = len(candidates)
    scores = {"type": "array", "items": {"type": "integer"}, "minItems": size, "maxItems": size}
    schema = {"type": "object", "properties": {"scores": scores}, "required": ["critique", "scores"]}

    async def judged(order: list[Candidate]) -> tuple[int, dict[str, int]]:
        shown = "\n\n".join(f"Response {i}:\n{c.text}" for i, c in enumerate(order, 1))
        (said,) = await run.ask(CRITICISE.format(q=problem.prompt, responses=shown), schema=schema, temperature=0.5)
        prompt = SOUND.format(q=problem.prompt, critique=said.parsed["critique"])
        (sound,) = await run.ask(prompt, schema={"type": "integer"}, temperature=0.0)
        return sound.parsed, dict(zip([c.id for c in order], said.parsed["scores"], strict=True))

    orders = [run.random.sample(candidates, size) for _ in range(k)]
    ranked = sorted(await run.gather(*map(judged, orders)), key=lambda critique: -critique[0])
    total = sum((Counter(scores) for _, scores in ranked[:keep]), Counter())
    return [total[c.id] for c in candidates]


def rehearse(request, random):
    if request.schema and request.schema["type"] == "integer":
        return str(random.randint(1, 10))
    if request.schema:
        scores = [random.randint(1, 10) for _ in range(request.schema["properties"]["scores"]["minItems"])]
        return random.choice((f'{{"critique": "Short.", "scores": {scores}}}', f"The scores are {scores}."))
