"""Marginal gain: the next sample goes where it is expected to add most to the accuracy, for what it costs."""

from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.toolkit.bids import STRENGTH, least_gain, vote_gain, within


def marginal(
    *, floor: float = 0.001, prior: float = STRENGTH, pilot: int = 2, max_samples: int = 64, max_in_flight: int = 8
) -> Allocator:
    """Greedy by the expected gain of the vote, under a posterior over the two leading answers; per token spent.

    Damani et al. (2024), arXiv:2410.04707: greedy by marginal reward is exact where gains fall with each sample.
    Differences from the paper: no trained probe; the gain is the value of information of `bids.vote_gain`, from the
    votes alone, with a prior learned from all problems as the run goes (`bids.prior`); and a problem whose samples in
    flight may settle it waits for them (`bids.least_gain`), so that spending hardly depends on the number of requests
    in flight. For answers that are checked, see `success`.

    Args:
        floor: a problem whose next sample adds less gets none.
        prior: strength of the prior: its pseudo-counts, over those that the agreement between samples implies.
        pilot: samples of every problem before any comparison.
        max_samples: of one problem.
        max_in_flight: of them at a time.
    Raises: InvalidParameter.
    """
    within("floor", floor, 0.0, 1.0)
    within("prior", prior, 1e-6, 1e6)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        least = least_gain(standing, outlook, prior)
        return Bid(least, "saturated") if least < floor else Bid(vote_gain(standing, outlook, prior))

    return Allocator(bid, pilot, max_samples, max_in_flight)
