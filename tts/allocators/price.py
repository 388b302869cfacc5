"""Price: each problem buys samples for as long as they are worth their price. For streams of unknown length."""

from math import exp

from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.toolkit.bids import least_gain, vote_gain, within


def price(
    *,
    price: float = 0.001,
    target: float | None = None,
    rate: float = 0.05,
    pilot: int = 2,
    max_samples: int = 64,
    max_in_flight: int = 4,
) -> Allocator:
    """Give a problem its next sample while the expected gain is at least `price` times its expected cost.

    A Lagrangian for a budget over many prompts, as in constrained policy allocation (arXiv:2604.14853): with one price
    for all, each prompt can be decided on alone. Differences from the paper: utilities are `bids.vote_gain`; the price
    is given, or found by dual ascent: after each problem that is decided it is multiplied by exp(rate (spent / target -
    1)), so that it rises while problems cost more than `target`.

    Args:
        price: the accuracy that the cost of a mean sample must buy.
        target: mean cost of a problem, in the unit of the limit that binds (tokens if there is none); None leaves the
            price as it is.
        rate: of the ascent.
        pilot: samples of every problem.
        max_samples: of one problem.
        max_in_flight: of them at a time.
    Raises: InvalidParameter.
    """
    within("price", price, 1e-9, 1.0)
    within("rate", rate, 0.0, 1.0)
    if target is not None:
        within("target", target, 1e-9, 1e18)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        now = price
        if target is not None:
            now *= exp(max(-20.0, min(20.0, rate * (outlook.spent / target - outlook.closed))))
        least = least_gain(standing, outlook)
        return Bid(vote_gain(standing, outlook), "priced out" if least < now * outlook.cost else "")

    return Allocator(bid, pilot, max_samples, max_in_flight, compares=False)
