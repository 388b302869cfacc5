"""The beta function, for priors and posteriors of a share. Pure; no numpy."""

from math import lgamma


def log_beta(a: float, b: float) -> float:
    """The natural logarithm of B(a, b), for a and b above 0."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)
