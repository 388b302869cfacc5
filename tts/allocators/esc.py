"""ESC: a problem whose window of samples agrees gets no more, and what it saves goes to the others."""

from tts.allocation import Allocator, Bid, Outlook, Standing
from tts.allocators.rules import equally, within


def esc(*, window: int = 5, most: int = 60) -> Allocator:
    """Stop where all answers of one window are the same.

    Li et al. (2024), arXiv:2401.10480. Departs from the paper: windows are of samples in the order of their arrival; a
    sample without an answer agrees with nothing; what is saved is spent again, on the problem with the fewest samples.

    Args:
        window: samples that must agree, and that are in flight together.
        most: samples of one problem.
    Raises: InvalidParameter.
    """
    within("window", window, 2, most)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        if standing.in_flight and standing.taken % window == 0:
            return Bid(0.0, "saturated")  # the window is not whole yet
        whole = standing.samples - standing.samples % window
        latest = set(standing.answers[whole - window : whole])
        if len(latest) == 1 and None not in latest:
            return Bid(0.0, "solved")
        return equally(standing, outlook)

    return Allocator(bid, window, most, window)
