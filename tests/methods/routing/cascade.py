"""A cascade of models: the next one is asked where the samples of those before do not agree."""

from collections import Counter

from tts import Candidate, Problem, Run
from tts.selectors import heaviest


async def cascade(
    problem: Problem, run: Run, *, models: str = "small+large", n: int = 5, agree: float = 0.8
) -> Candidate:
    """Sample model by model, cheapest first, until one agrees with itself; vote by how far each model does.

    Chen et al. (2025), ModelSwitch, arXiv:2504.00762. Differences from the paper: consistency is the share of the
    leading answer, where theirs is an entropy.

    Args:
        models: their names in the run, joined by `+`.
        n: samples of each.
        agree: share of a model's samples that ends the cascade.
    """
    weights: dict[str, float] = {}
    run.fallback = lambda found, _: heaviest(found, weights)
    for model in models.split("+"):
        found = await run.generate(n=n, model=model)
        votes = Counter(c.answer for c in found if c.answer is not None)
        share = max(votes.values(), default=0) / len(found)
        weights |= {c.id: share for c in found}
        if share >= agree:
            break
    return run.pick()
