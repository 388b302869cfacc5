"""Mixture of agents: layers of models that read one another."""

from rsa import aggregation

from tts import Candidate, Problem, Run
from tts.selectors import majority


async def moa(problem: Problem, run: Run, *, layers: int = 2, models: str = "small+large") -> Candidate:
    """Show every model of a layer all answers of the layer before; the last of them sums up at temperature 0.

    Wang et al. (2024), arXiv:2406.04692. Differences from the paper: the prompt is that of `rsa`.

    Args:
        models: the agents, by their names in the run, joined by `+`.
    """
    found, agents = [], models.split("+")
    run.fallback = lambda candidates, scores: majority(found or candidates, scores)
    for _ in range(layers):
        prompt = aggregation(problem, found) if found else None
        found = [c for (c,) in await run.gather(*(run.generate(prompt, model=agent) for agent in agents))]
    return (await run.generate(aggregation(problem, found), model=agents[-1], temperature=0.0))[0]
