"""Deadline: the most accuracy for each second, without samples that would come too late."""

from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.toolkit.bids import least_gain, vote_gain, within


def deadline(
    *, floor: float = 0.0005, slack: float = 1.0, pilot: int = 1, max_samples: int = 64, max_in_flight: int = 8
) -> Allocator:
    """Rank problems as `marginal` does, with seconds in place of tokens: for a budget that has a limit in seconds.

    A rule of this project: a sample is worth its expected gain over its expected seconds, and nothing if these are more
    than the seconds left.

    Args:
        floor: a problem whose next sample adds less gets none.
        slack: so many times a sample's expected seconds must be left.
        pilot: samples of every problem before any comparison.
        max_samples: of one problem.
        max_in_flight: of them at a time.
    Raises: InvalidParameter.
    """
    within("floor", floor, 0.0, 1.0)
    within("slack", slack, 0.0, 100.0)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        if outlook.left_s is not None and outlook.seconds * slack > outlook.left_s:
            return Bid(0.0, "late")
        value = vote_gain(standing, outlook) * outlook.cost / max(outlook.seconds, 1e-9)
        return Bid(value, "saturated" if least_gain(standing, outlook) < floor else "")

    return Allocator(bid, pilot, max_samples, max_in_flight, by_time=True)
