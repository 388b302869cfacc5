"""Success: the next sample goes where it is most likely to be the first that passes the verifier."""

from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.toolkit.bids import within


def success(
    *,
    threshold: float = 0.5,
    trust: float = 0.9,
    passes: float = 0.5,
    fails: float = 0.5,
    floor: float = 0.005,
    max_samples: int = 64,
    max_in_flight: int = 4,
) -> Allocator:
    """Greedy by the chance that the next sample is a problem's first success, under a Beta posterior.

    Damani et al. (2024), arXiv:2410.04707, with binary rewards: the gain of the b-th sample is E[p (1 - p)^(b - 1)],
    which falls with b, so greedy is exact. Differences from the paper: no trained probe; the posterior is
    Beta(passes + successes, fails + failures); a sample in flight, or without its verification, counts as a failure to
    come; and a success is trusted only so far: with k of them a problem's gain is (1 - trust)^k of that, so that it
    comes after those without one, and a verifier that errs costs little. Where a strategy verifies nothing, every
    sample counts as a failure to come, and all problems get about the same.

    Args:
        threshold: the score from which on a candidate passes.
        trust: how likely a candidate that passes is right; 1 (proofs, tests that are complete) stops a problem at its
            first success, and cancels its samples in flight (benchmarks/methods/early_stopping.md).
        passes: the prior's pseudo-count of successes; with a half of each it is Jeffreys'.
        fails: the prior's pseudo-count of failures.
        floor: a problem without a success whose next sample succeeds with less probability is abandoned.
        max_samples: of one problem.
        max_in_flight: of them at a time.
    Raises: InvalidParameter.
    """
    for name, value in (("passes", passes), ("fails", fails)):
        within(name, value, 1e-6, 1e6)
    within("floor", floor, 0.0, 1.0)
    within("trust", trust, 0.0, 1.0)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        scores = standing.mean_scores()
        passed = sum(score >= threshold for score in scores)
        if passed and trust == 1:
            return Bid(0.0, "solved", cancels=True)
        failures = fails + len(scores) - passed
        gain = (passes + passed) / (passes + passed + failures)
        for i in range(standing.samples + standing.in_flight - len(scores)):
            gain *= (failures + i) / (passes + passed + failures + i + 1)
        if not passed:
            return Bid(gain, "abandoned" if gain < floor else "")
        return Bid(gain * (1 - trust) ** passed)

    return Allocator(bid, 1, max_samples, max_in_flight)
