"""Adaptive-Consistency: a problem whose vote is safe gets no more, and its savings go to the others."""

from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.selectors import lead_probability
from tts.toolkit.bids import equally, within


def adaptive_consistency(*, confidence: float = 0.95, max_samples: int = 64, max_in_flight: int = 4) -> Allocator:
    """Stop where the two leading answers, of a >= b votes, are told apart with probability `confidence`.

    Aggarwal et al. (2023), arXiv:2305.11860, its Beta form. Differences from the paper: savings are spent again, on
    the problem with the fewest samples among those that go on.

    Args:
        confidence: 0.95 is the paper's.
        max_samples: of one problem; the paper has 40.
        max_in_flight: of them at a time; samples that may settle the vote are waited for, so that none is bought
            which one at a time would not buy.
    Raises: InvalidParameter.
    """
    within("confidence", confidence, 0.5, 1.0)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        a, b = standing.lead
        if lead_probability(a + standing.in_flight, b) >= confidence:  # wait if samples in flight may settle it
            return Bid(0.0, "solved")
        return equally(standing, outlook)

    return Allocator(bid, 1, max_samples, max_in_flight)
