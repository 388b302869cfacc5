"""Blend-ASC: across questions, the least certain vote is next; a martingale decides which are certain."""

from math import exp, lgamma, log

from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.selectors import lead_probability
from tts.toolkit.bids import within


def blend_asc(*, error: float = 0.05, max_samples: int = 64, max_in_flight: int = 4) -> Allocator:
    """Rank questions by the Beta posterior's doubt about their leading answer; stop one by its PPR-1v1 martingale.

    Blend-ASC (arXiv:2511.12309). PPR-1v1: the prior over the posterior density at 1/2 of the leader's share
    against the runner-up, 1 / Beta(1/2; a + 1, b + 1), which exceeds 1 / error with probability `error` at the most
    if the two are equally likely, however often one looks. Differences from the paper: the doubt is divided by the
    question's expected cost.

    Args:
        error: of taking a tie for a lead.
        max_samples: of one problem.
        max_in_flight: of them at a time.
    Raises: InvalidParameter.
    """
    within("error", error, 1e-9, 0.5)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        a, b = standing.lead
        once = a + standing.in_flight  # wait if samples in flight may settle it
        density = exp(lgamma(once + b + 2) - lgamma(once + 1) - lgamma(b + 1) - (once + b) * log(2))
        doubt = (1 - lead_probability(a, b)) / (standing.in_flight + 1)
        return Bid(doubt, "solved" if density <= error else "")

    return Allocator(bid, 2, max_samples, max_in_flight)
