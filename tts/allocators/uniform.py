"""Uniform: every problem gets as many samples as any other. The baseline."""

from tts.core.allocation.allocator import Allocator
from tts.toolkit.bids import equally


def uniform(*, max_samples: int = 64, max_in_flight: int = 4) -> Allocator:
    """Give each problem one sample, then each a second one, until the budget ends.

    Unlike an equal share for each, a problem with long samples costs more than one with short ones: so `uniform` under
    the tokens of N samples a problem is majority@N, not N tokens' worth.

    Args:
        max_samples: of one problem.
        max_in_flight: of them at a time.
    Raises: InvalidParameter.
    """
    return Allocator(equally, 1, max_samples, max_in_flight)
