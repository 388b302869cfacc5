"""Uniform: every problem gets as many samples as any other. The baseline."""

from tts.core.allocation.allocator import Allocator
from tts.toolkit.bids import equally


def uniform(*, most: int = 64, ahead: int = 4) -> Allocator:
    """Give each problem one sample, then each a second one, until the budget ends.

    Unlike an equal share for each, a problem with long samples costs more than one with short ones: so `uniform` under
    the tokens of N samples a problem is majority@N, not N tokens' worth.

    Args:
        most: samples of one problem.
        ahead: of them in flight.
    Raises: InvalidParameter.
    """
    return Allocator(equally, 1, most, ahead)
