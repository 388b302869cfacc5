"""Marginal gain: the next sample goes where it is expected to add most to the accuracy, for what it costs."""

from tts.allocation import Allocator, Bid, Outlook, Standing
from tts.allocators.rules import vote_gain, within


def marginal(*, floor: float = 0.001, pilot: int = 2, most: int = 64, ahead: int = 4) -> Allocator:
    """Greedy by the expected gain of the vote, under a posterior over the two leading answers; per token spent.

    Damani et al. (2024), arXiv:2410.04707: greedy by marginal reward is exact where gains fall with each sample.
    Departs from the paper: no trained probe; the gain is the value of information of `rules.vote_gain`, from the votes
    alone. For answers that are checked, see `success`.

    Args:
        floor: a problem whose next sample adds less gets none.
        pilot: samples of every problem before any comparison.
        most: samples of one problem.
        ahead: of them in flight.
    Raises: InvalidParameter.
    """
    within("floor", floor, 0.0, 1.0)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        gain = vote_gain(standing)
        return Bid(gain, "saturated" if gain < floor else "")

    return Allocator(bid, pilot, most, ahead)
