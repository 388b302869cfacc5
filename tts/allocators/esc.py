"""ESC: a problem whose window of samples agrees gets no more, and its savings go to the others."""

from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.toolkit.bids import equally, within


def esc(*, window: int = 5, max_samples: int = 60) -> Allocator:
    """Stop where all answers of one window are the same.

    Li et al. (2024), arXiv:2401.10480. Differences from the paper: windows are of samples in the order of arrival; the
    next one begins as soon as an answer has broken the last; a sample without an answer agrees with none; savings are
    spent again, on the problem with the fewest samples.

    Args:
        window: samples that must agree, and that are in flight together.
        max_samples: of one problem.
    Raises: InvalidParameter.
    """
    within("window", window, 2, max_samples)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        whole = standing.samples - standing.samples % window
        if _agree(standing.answers[whole - window : whole]):
            return Bid(0.0, "solved")
        begun = standing.answers[whole:]
        end = whole + window if not begun or _agree(begun) else whole + 2 * window
        if standing.samples + standing.in_flight >= end:
            return Bid(0.0, "saturated")  # samples in flight may still agree
        return equally(standing, outlook)

    return Allocator(bid, window, max_samples, window)


def _agree(answers: list[str | None]) -> bool:
    return len(set(answers)) == 1 and answers[0] is not None
