"""Elimination bandit: solved questions leave, and those that can be solved come before those that seem hopeless."""

from math import sqrt

from tts.allocation import Allocator, Bid, Outlook, Standing
from tts.allocators.rules import within
from tts.selectors import lead_probability


def bandit(
    *,
    solved: float = 0.95,
    hopeless: float = 0.1,
    patience: int = 16,
    explore: float = 0.5,
    most: int = 64,
    ahead: int = 4,
) -> Allocator:
    """Treat questions as arms: eliminate what is solved, prefer what looks solvable, by an upper confidence bound.

    Bandit allocation across prompts (arXiv:2506.12721). A question's index is the mean of its scores, or without a
    verifier its leading answer's share of the samples, plus `explore / sqrt(samples)`. Departs from the paper: the
    index is divided by the question's expected cost; what is hopeless is abandoned rather than tried to the end.

    Args:
        solved: a score, or without a verifier a probability of the lead, at which a question is solved.
        hopeless: an index before exploration below which a question is abandoned after `patience` samples.
        patience: samples.
        explore: the width of the confidence bound.
        most: samples of one problem.
        ahead: of them in flight.
    Raises: InvalidParameter.
    """
    within("hopeless", hopeless, 0.0, 1.0)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        scores = standing.mean_scores()
        best = max(scores) if scores else lead_probability(*standing.lead)
        if best >= solved:
            return Bid(0.0, "solved")
        hope = sum(scores) / len(scores) if scores else standing.lead[0] / max(1, standing.samples)
        if standing.samples >= patience and hope < hopeless:
            return Bid(0.0, "abandoned")
        return Bid(hope + explore / sqrt(standing.taken + 1))

    return Allocator(bid, 2, most, ahead)
