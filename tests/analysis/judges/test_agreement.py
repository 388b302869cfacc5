"""Coefficients of agreement on published examples, and their intervals."""

import pytest

from tts.analysis.judges.agreement import (
    cohen_kappa,
    jackknifed,
    krippendorff_alpha,
    nominal,
    spearman_rho,
    squared,
)

_ = None
FOUR_OBSERVERS = [  # Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section C: a row for each observer
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


@pytest.mark.parametrize(("distance", "published"), [(nominal, 0.743), (squared, 0.849)])
def test_alpha_of_the_four_observers_is_as_published(distance, published) -> None:
    units = [*zip(*FOUR_OBSERVERS, strict=True)]
    assert krippendorff_alpha(units, distance) == pytest.approx(published, abs=5e-4)


def test_kappa_of_fifty_proposals_read_twice() -> None:
    """20 are accepted by both, 15 by none, 5 by the first only, 10 by the second only: 0.7 observed, 0.5 by chance."""
    first = [True] * 20 + [True] * 5 + [False] * 10 + [False] * 15
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_rho_of_ten_people_and_its_ties() -> None:
    scores, hours = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110], [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert spearman_rho(scores, hours) == pytest.approx(-29 / 165)
    assert spearman_rho([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)  # ranks 1, 2.5, 2.5, 4


@pytest.mark.parametrize("same", [cohen_kappa, spearman_rho])
def test_what_does_not_vary_has_no_coefficient(same) -> None:
    assert same([1, 1, 1], [1, 1, 1]) is None and same([], []) is None
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None and krippendorff_alpha([[1], [None, 2]]) is None


def test_of_a_mean_the_jackknife_is_the_usual_error_and_is_unknown_for_one_problem() -> None:
    values = [0.0, 0.0, 1.0, 1.0, 1.0]

    def mean(some):
        return sum(some) / len(some)

    found = jackknifed(mean, values, (-9.0, 9.0))
    assert found.mean == pytest.approx(0.6) and found.n == 5
    assert found.high - found.mean == pytest.approx(2.776 * (0.3 / 5) ** 0.5, rel=2e-3)
    assert jackknifed(mean, [1.0]).low is None
