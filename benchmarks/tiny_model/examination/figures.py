"""Figures of groups of attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.tiny_model.examination.exam import Said
from benchmarks.tiny_model.teachers.teacher import Item
from tts.answers.equivalence import extract


def vote(group: Sequence[Said], item: Item, weights: Sequence[float]) -> float:
    """Whether the vote is right; ties are shared, and a weight of NaN abstains, as in `tts.selectors`."""
    votes: Counter[str] = Counter()
    for said, weight in zip(group, weights, strict=True):
        answer = extract(said.text)
        if answer is not None and not np.isnan(weight):
            votes[answer] += weight
    if not votes:
        return 0.0
    best = [answer for answer, count in votes.items() if count >= max(votes.values()) - 1e-12]
    return (str(item.data.answer) in best) / len(best)


def votes(items: Sequence[Item], groups: Sequence[Sequence[Said]]) -> np.ndarray:
    """Of each group, whether its majority is right."""
    return np.array([vote(group, item, [1.0] * len(group)) for group, item in zip(groups, items, strict=True)])


def singles(groups: Sequence[Sequence[Said]]) -> np.ndarray:
    """Of each group, the share that is right."""
    return np.array([np.mean([said.right for said in group]) for group in groups])


def covered(group: Sequence[Said], k: int) -> float:
    """Coverage at k, unbiased (Chen et al. 2021, arXiv:2107.03374)."""
    n, right = len(group), sum(said.right for said in group)
    if n - right < k:
        return 1.0
    return float(1 - np.prod(1 - k / np.arange(n - right + 1, n + 1)))


def interval(values: np.ndarray, scale: float) -> str:
    """The mean and 1.96 standard errors, in points."""
    spread = 1.96 * scale * values.std(ddof=1) / np.sqrt(len(values))
    return f"{scale * values.mean():+.1f} ± {spread:.1f} points"


def shortest_wins(groups: Sequence[Sequence[Said]]) -> list[float]:
    """Of each pair of one right and one wrong, whether the right one is the shorter; a half if neither is."""
    return [
        (a.tokens < b.tokens) + 0.5 * (a.tokens == b.tokens)
        for group in groups
        for a in group
        for b in group
        if a.right and not b.right
    ]


def auc(values: np.ndarray, labels: np.ndarray) -> float:
    """P(the value of a positive is above that of a negative), ties counting half; NaN without both."""
    positive = labels.astype(bool)
    few = int(positive.sum())
    if not 0 < few < len(labels):
        return float("nan")
    return float((_ranks(values)[positive].sum() - few * (few + 1) / 2) / (few * (len(labels) - few)))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, equal values sharing their ranks; NaN where one of the two is constant."""
    x, y = _ranks(a), _ranks(b)
    return float(np.corrcoef(x, y)[0, 1]) if x.std() and y.std() else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """From 1; equal values have the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
