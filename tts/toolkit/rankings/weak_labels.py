"""Accuracies of labellers that nobody has checked, from how often they agree: the triplet method.

Fu et al. (2020), arXiv:2002.11955: where the errors of three labellers are independent given the truth,
`E[v_i v_j] = a_i a_j` with `a = E[v y]`, labels and truth being 1 or -1, so that
`a_i^2 = E[v_i v_j] E[v_i v_k] / E[v_j v_k]`; of several pairs (j, k), the median. One labeller, the anchor, is taken to
be right more often than wrong, which gives the others their signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import log, sqrt
from statistics import median

PRIOR, PRIOR_LABELS = 0.4, 16.0  # what each labeller is taken for before anything is known, and with the weight of what
MOST = 0.95  # of an accuracy, or a few labels that agree would count for ever
ONE_SIDED = 0.9  # mean of a labeller's labels beyond which they say nothing
NOTHING = 0.02  # an agreement below which nothing can be divided by it


def agreements(items: Iterable[Mapping[str, int]]) -> dict[str, float]:
    """Sums over items of the labels of each labeller and the products of each two, with their numbers, to be added up
    over problems.

    Args:
        items: of each one labeller -> 1 or -1; who abstained is not in it.
    """
    found: dict[str, float] = {}
    for labels in items:
        alone = [(name, value) for name, value in labels.items()]
        products = [(_pair(a, b), labels[a] * labels[b]) for a, b in combinations(labels, 2)]
        for arm, value in (*alone, *products):
            found[arm] = found.get(arm, 0.0) + value
            found[f"{arm} #"] = found.get(f"{arm} #", 0.0) + 1
    return found


def added(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {arm: first.get(arm, 0.0) + second.get(arm, 0.0) for arm in {**first, **second}}


def accuracies(sums: Mapping[str, float], names: Sequence[str], anchor: str) -> dict[str, float]:
    """`E[v y]` of each labeller, from 0, which knows nothing, to `MOST`; 0 for one that is nearly always of one mind,
    and for one that disagrees with the anchor more often than not.

    Args:
        sums: as of `agreements`.
    """
    kept = [name for name in names if not _one_sided(sums, name) or name == anchor]

    def together(a: str, b: str) -> float:
        arm = _pair(a, b)
        count = sums.get(f"{arm} #", 0.0)
        return (sums.get(arm, 0.0) + PRIOR * PRIOR * PRIOR_LABELS) / (count + PRIOR_LABELS)

    def accuracy(name: str) -> float:
        if name != anchor and together(name, anchor) <= 0:
            return 0.0
        others = [other for other in kept if other != name]
        squares = [
            together(name, j) * together(name, k) / together(j, k)
            for j, k in combinations(others, 2)
            if abs(together(j, k)) > NOTHING
        ]
        return min(MOST, sqrt(max(0.0, median(squares)))) if squares else PRIOR

    return {name: accuracy(name) if name in kept else 0.0 for name in names}


def log_odds(accuracy: float) -> float:
    """The weight of a label: the logarithm of P(right) / P(wrong)."""
    return log((1 + accuracy) / (1 - accuracy))


def _one_sided(sums: Mapping[str, float], name: str) -> bool:
    count = sums.get(f"{name} #", 0.0)
    return count >= PRIOR_LABELS and abs(sums.get(name, 0.0)) > ONE_SIDED * count


def _pair(a: str, b: str) -> str:
    return " * ".join(sorted((a, b)))
