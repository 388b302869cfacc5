"""Success: the next sample goes where it is most likely to be the first that passes the verifier."""

from tts.allocation import Allocator, Bid, Outlook, Standing
from tts.allocators.rules import within


def success(
    *,
    threshold: float = 0.5,
    passes: float = 0.5,
    fails: float = 0.5,
    floor: float = 0.005,
    most: int = 64,
    ahead: int = 4,
) -> Allocator:
    """Greedy by the chance that the next sample is a problem's first success, under a Beta posterior.

    Damani et al. (2024), arXiv:2410.04707, with binary rewards: the gain of the b-th sample is E[p (1 - p)^(b - 1)],
    which falls with b, so greedy is exact. Departs from the paper: no trained probe; the posterior is
    Beta(passes, fails + failures). What is in flight, or waits for its verification, counts as a failure to come.
    A problem is solved by one success: so this is for verifiers that can be trusted (tests, constraints).

    Args:
        threshold: the score from which on a candidate passes.
        passes: the prior's pseudo-count of successes; with a half of each it is Jeffreys'.
        fails: and of failures.
        floor: a problem whose next sample succeeds with less probability is abandoned.
        most: samples of one problem.
        ahead: of them in flight.
    Raises: InvalidParameter.
    """
    for name, value in (("passes", passes), ("fails", fails)):
        within(name, value, 1e-6, 1e6)
    within("floor", floor, 0.0, 1.0)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        scores = standing.mean_scores()
        if any(score >= threshold for score in scores):
            return Bid(0.0, "solved")
        tried = standing.samples + standing.in_flight
        gain = passes / (passes + fails + len(scores))
        for i in range(len(scores), tried):
            gain *= (fails + i) / (passes + fails + i + 1)
        return Bid(gain, "abandoned" if gain < floor else "")

    return Allocator(bid, 1, most, ahead)
