"""DeepConf: traces that lose confidence are ended, and the others vote by theirs."""

from math import inf

from tts import Candidate, Problem, Run
from tts.selectors import heaviest


async def deepconf(
    problem: Problem, run: Run, *, warmup: int = 4, n: int = 12, window: int = 16, eta: float = 0.9, agree: float = 0.95
) -> Candidate:
    """End a trace whose confidence over `window` tokens falls below the lowest of the warm-up's traces.

    Fu et al. (2025), arXiv:2508.15260, online. Differences from the paper: groups of tokens follow one another, where
    the paper's slide; a server shows at most 20 alternatives of a token.

    Args:
        eta: share of the warm-up's traces that would not have been ended.
        agree: share of the votes that ends the sampling.
    """
    lowest, weights = {}, {}
    run.fallback = lambda found, _: heaviest(found, weights)

    async def sample(count: int, least: float) -> None:
        async with run.streaming(n=count, every=window, top_logprobs=20) as traces:
            async for update in traces:
                low = lowest[update.id] = min(lowest.get(update.id, inf), update.confidence or inf)
                if update.candidate is None and low < least:
                    traces.stop(update.id)
                if update.candidate is not None and update.candidate.complete:
                    weights[update.id] = min(low, 1e9)
                    votes = [(c.answer, weights[c.id]) for c in run.candidates if c.id in weights and c.answer]
                    leading = sum(weight for answer, weight in votes if answer == run.pick().answer)
                    if least > 0 and leading >= agree * sum(weight for _, weight in votes):
                        return

    await sample(warmup, 0.0)
    await sample(n - warmup, sorted(lowest.values())[int(len(lowest) * (1 - eta))])
    return run.pick()
