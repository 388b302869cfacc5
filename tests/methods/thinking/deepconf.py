"""DeepConf: traces that lose confidence are ended, and the others vote by theirs."""

from collections import defaultdict
from math import inf
from statistics import fmean

from tts import Candidate, Problem, Run
from tts.selectors import heaviest


async def deepconf(
    problem: Problem, run: Run, *, warmup: int = 4, n: int = 12, window: int = 16, eta: float = 0.9, agree: float = 0.95
) -> Candidate:
    """End a trace whose mean confidence over `window` tokens falls below that of the warm-up's traces.

    Fu et al. (2025), arXiv:2508.15260, online. Differences from the paper: a token's confidence is its own
    log-probability, not that of its alternatives; a trace weighs the inverse of its lowest group.

    Args:
        eta: share of the warm-up's traces that would not have been ended.
        agree: share of the votes that ends the sampling.
    """
    tokens, lowest, weights = defaultdict(list), defaultdict(float), {}
    run.fallback = lambda found, _: heaviest(found, weights)

    async def sample(count: int, least: float) -> None:
        async with run.streaming(n=count, top_logprobs=5) as traces:
            async for update in traces:
                seen = tokens[update.id]
                seen += [update.mean_logprob or 0.0] * (update.tokens - len(seen))
                lowest[update.id] = low = min(lowest[update.id], fmean(seen[-window:]))
                if update.candidate is None and low < least:
                    traces.stop(update.id)
                elif update.candidate and update.candidate.complete and update.candidate.answer is not None:
                    weights[update.id] = 1 / max(-low, 1e-6)
                    leading = sum(
                        weights[c.id] for c in run.candidates if c.id in weights and c.answer == run.pick().answer
                    )
                    if least > -inf and leading >= agree * sum(weights.values()):
                        return

    await sample(warmup, -inf)
    await sample(n - warmup, sorted(lowest.values())[int(len(lowest) * (1 - eta))])
    return run.pick()
