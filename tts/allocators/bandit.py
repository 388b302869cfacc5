"""Elimination bandit: solved questions leave, and solvable ones come before those that seem hopeless."""

from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.selectors import lead_probability
from tts.toolkit.bids import equally, within


def bandit(
    *,
    solved: float = 0.95,
    confirm: int = 2,
    hopeless: float = 0.2,
    patience: int = 8,
    max_samples: int = 64,
    max_in_flight: int = 4,
) -> Allocator:
    """Treat questions as arms: explore them equally, eliminate solved ones, put off those that look hopeless.

    Bandit allocation across prompts (arXiv:2506.12721), which eliminates questions that a verifier, or the vote's
    confidence, calls solved and prefers the solvable to the hopeless. Differences from the paper: hope is a question's
    best score, or without a verifier its leading answer's share of the samples; hopeless questions are put off, not
    dropped, so that they get the rest of the budget.

    Args:
        solved: a score, or without a verifier a probability of the lead, at which a question is solved.
        confirm: candidates that must have such a score; 1 is enough for verifiers that are never wrong, and cancels
            the problem's samples in flight.
        hopeless: hope below which a question is put off.
        patience: samples before that.
        max_samples: of one problem.
        max_in_flight: of them at a time.
    Raises: InvalidParameter.
    """
    within("hopeless", hopeless, 0.0, 1.0)
    within("patience", patience, 1, max_samples)
    within("confirm", confirm, 1, max_samples)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        scores, (a, b) = standing.mean_scores(), standing.lead
        solutions = sum(score >= solved for score in scores)
        if solutions >= confirm:
            return Bid(0.0, "solved", cancels=confirm == 1)
        if not scores and lead_probability(a + standing.in_flight, b) >= solved:  # samples in flight may settle it
            return Bid(0.0, "solved")
        hope = max(scores) if scores else standing.lead[0] / max(1, standing.samples)
        value = equally(standing, outlook).value
        return Bid(value / max_samples if standing.samples >= patience and hope < hopeless else value)

    return Allocator(bid, 2, max_samples, max_in_flight)
