"""DeepConf: traces that lose confidence are stopped, and those that keep it vote with its weight."""

from collections.abc import Mapping, Sequence
from math import floor, inf

from tts.core.trials.context import Run
from tts.errors import CapabilityMissing, InvalidParameter
from tts.selectors import Scores, first, heaviest
from tts.toolkit.votes import Equivalence, choose, equated
from tts.types import Candidate, Problem


async def deepconf(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 32,
    warmup: int | None = 16,
    keep: float = 0.9,
    window: int = 2048,
    consensus: float = 0.95,
    in_flight: int = 8,
    top_logprobs: int = 20,
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Let `warmup` traces end, stop each later one of which a group of tokens is less confident than theirs, and vote.

    Fu et al. (2025), arXiv:2508.15260. The confidence of a token is minus the mean log-probability of its alternatives,
    that of a trace the lowest mean of `window` consecutive tokens (of a shorter trace, its mean). The bar is the
    percentile of the warm-up's confidences that the share `keep` of them reach; a vote weighs its trace's confidence.
    With `warmup=none` this is the paper's offline filter: all n traces end, and those that reach the bar vote.

    Differences from the paper: a trace of the warm-up below the bar does not vote online either; `in_flight` traces run
    side by side, so that a consensus counts those first that end first. Rules where the paper has none: if no trace
    that reaches the bar has an answer, all that were not stopped vote; confidences that are all alike stop and filter
    nothing; a warm-up of more than n is one of n.

    Args:
        n: number of traces at most, those of the warm-up included; None spends the rest of the budget.
        warmup: number of traces that end before the bar is known, 16 in the paper; None is the offline filter.
        keep: share of the warm-up's traces that would not be stopped, 0.9 or 0.1 in the paper.
        window: tokens of a group, 2,048 in the paper.
        consensus: share of the weights for one answer at which the sampling ends.
        in_flight: traces that run side by side after the warm-up: more take fewer seconds and waste more tokens.
        top_logprobs: alternatives of a token, 20 in the paper; a single one says nothing of confidence.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter; CapabilityMissing where the server gives no log-probabilities.
    """
    for name, count in (("n", n), ("warmup", warmup), ("in_flight", in_flight), ("window", window)):
        _require(count is None or count >= 1, name, "at least 1", count)
    _require(0 < keep <= 1, "keep", "a share above 0 and at most 1, as 0.9 in the paper", keep)
    _require(0 < consensus <= 1, "consensus", "a share above 0 and at most 1, as 0.95 in the paper", consensus)
    _require(2 <= top_logprobs <= 20, "top_logprobs", "from 2 to 20", top_logprobs)
    run = run.on(problem)
    bar: float | None = None

    def vote(found: Sequence[Candidate], scores: Scores) -> Candidate | None:
        weights = _weights(found, _percentile(found, keep) if bar is None else bar)
        return heaviest(found, weights) or heaviest(found, _weights(found, -inf)) or first(found, scores)

    run.fallback = vote

    async def settled(bar: float) -> bool:
        spelt = await equated(run, run.candidates, equivalence)
        return _share_of_first(spelt, _weights(spelt, bar)) >= consensus

    async def sample(count: int | None, at_once: int) -> None:
        """Sample `count` traces, None: to the end of the budget; end at a consensus once there is a bar."""
        below = 0.0 if bar is None else max(bar, 0.0)
        async with run.streaming(n=at_once, group=window, below=below, top_logprobs=top_logprobs) as traces:
            async for update in traces:
                if update.candidate is None:
                    traces.stop(update.id)
                    continue
                _check_followed(update.candidate)
                if bar is not None and await settled(bar):
                    return
                room = at_once - len(traces.pending)
                traces.more(room if count is None else min(room, count - traces.asked))

    begun = n if warmup is None else warmup if n is None else min(n, warmup)
    await sample(begun, in_flight if begun is None else begun)
    bar = _percentile(run.candidates, keep)
    left = None if n is None or begun is None else n - begun
    if warmup is not None and left != 0 and not await settled(bar):
        await sample(left, in_flight if left is None else min(in_flight, left))
    return await choose(run, vote, run.candidates, equivalence)


def _require(ok: bool, name: str, rule: str, value: float | None) -> None:
    if not ok:
        raise InvalidParameter(f"{name} must be {rule}, but got {value}", name=name, value=value)


def _percentile(candidates: Sequence[Candidate], keep: float) -> float:
    """The confidence that the share `keep` of the traces reach, with linear interpolation; where none is known, one
    that all reach."""
    known = sorted(_weights(candidates, -inf).values())
    if not known:
        return -inf
    place = (1 - keep) * (len(known) - 1)
    low = floor(place)
    return known[low] + (place - low) * (known[min(low + 1, len(known) - 1)] - known[low])


def _weights(candidates: Sequence[Candidate], bar: float) -> dict[str, float]:
    """The confidences of the traces that were not stopped and reach the bar, by id."""
    ended = [c for c in candidates if c.completion.finish_reason != "cancelled"]
    known = {c.id: c.completion.logprobs.lowest_group for c in ended if c.completion.logprobs is not None}
    return {id: lowest for id, lowest in known.items() if lowest is not None and lowest >= bar}


def _share_of_first(candidates: Sequence[Candidate], weights: Mapping[str, float]) -> float:
    """The share of the weights that the heaviest answer has; 0 where nothing weighs."""
    votes = [(c.answer, weights[c.id]) for c in candidates if c.answer is not None and c.id in weights]
    winner = heaviest(candidates, weights)
    total = sum(weight for _, weight in votes)
    if winner is None or total <= 0:
        return 0.0
    return sum(weight for answer, weight in votes if answer == winner.answer) / total


def _check_followed(candidate: Candidate) -> None:
    """Check that the confidence of a trace that has ended is known. Raises: CapabilityMissing where the server sent no
    log-probabilities; numbers that were none have been noted as a downgrade, and the trace does not vote."""
    completion = candidate.completion
    if completion.finish_reason == "cancelled" or not completion.usage.completion_tokens:
        return
    known = completion.logprobs is not None and completion.logprobs.lowest_group is not None
    if not known and "logprobs" not in completion.downgrades:
        raise CapabilityMissing(
            f"deepconf weighs traces by the log-probabilities of alternatives, and {candidate.id} came without: ask a "
            f"server that gives them (vLLM, SGLang, llama.cpp; `tts doctor` shows it)",
            capability="logprobs",
        )
