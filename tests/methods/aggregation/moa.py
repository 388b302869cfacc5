"""Mixture of agents: layers of models that read one another."""

from tts import Candidate, Problem, Run
from tts.selectors import majority
from tts.toolkit.prompts.aggregation import aggregation


async def moa(problem: Problem, run: Run, *, layers: int = 2, models: str = "small+large") -> Candidate:
    """Show every model of a layer all answers of the layer before; the last of them sums up at temperature 0.

    Wang et al. (2024), arXiv:2406.04692. Differences from the paper: the prompt is that of `rsa`.

    Args:
        models: the agents, by their names in the run, joined by `+`.
    """
    found, agents = [], models.split("+")
    run.fallback = lambda candidates, scores: majority(found or candidates, scores)
    prompt = None
    for _ in range(layers):
        found = [c for (c,) in await run.gather(*(run.generate(prompt, model=agent) for agent in agents))]
        prompt = aggregation(problem.prompt, [c.text for c in found])
    return (await run.generate(prompt, model=agents[-1], temperature=0.0))[0]
