"""Saturation (TTSPM): a question gets samples until the curve of its success has become flat."""

from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.toolkit.bids import within


def saturation(
    *,
    epsilon: float = 0.001,
    ceiling: float = 1.0,
    threshold: float = 0.5,
    max_samples: int = 64,
    max_in_flight: int = 4,
) -> Allocator:
    """Stop a question where `F_max p (1 - p)^N`, what its next sample adds to its chance of success, is below epsilon.

    Test-time scaling performance model (arXiv:2505.20522): F(N) = F_max (1 - (1 - p)^N). Differences from the paper: p
    is estimated for each question, as the posterior mean of its candidates that pass the verifier, or without a
    verifier of those that give the leading answer; the published fits are for whole data sets.

    Args:
        epsilon: the gain that is not worth a sample.
        ceiling: F_max.
        threshold: the score from which on a candidate passes.
        max_samples: of one problem.
        max_in_flight: of them at a time.
    Raises: InvalidParameter.
    """
    within("epsilon", epsilon, 0.0, 1.0)
    within("ceiling", ceiling, 1e-9, 1.0)

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        scores = standing.mean_scores()
        tried = len(scores) or standing.samples
        hits = sum(score >= threshold for score in scores) if scores else standing.lead[0]
        p = (hits + 0.5) / (tried + 1)
        gain = ceiling * p * (1 - p) ** (standing.samples + standing.in_flight)
        return Bid(gain, "saturated" if gain < epsilon else "")

    return Allocator(bid, 2, max_samples, max_in_flight)
