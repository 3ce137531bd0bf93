"""The Mahalanobis distance with a low-rank covariance."""

from __future__ import annotations

import numpy as np
import pytest

from captioning.errors import InputError
from captioning.model.domain import Domain

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(211, 3)) @ RANDOM.normal(size=(3, 13)) + 0.1 * RANDOM.normal(size=(211, 13)) + 5


def test_the_distance_is_that_of_the_covariance_written_out() -> None:
    domain = Domain.fit(FEATURES, rank=3)
    z = (FEATURES - FEATURES.mean(0)) / FEATURES.std(0)
    values, vectors = np.linalg.eigh(np.cov(z.T, bias=True))
    top = vectors[:, -3:]
    covariance = top @ np.diag(values[-3:]) @ top.T + values[:-3].mean() * (np.eye(13) - top @ top.T)
    squares = np.einsum("ij,jk,ik->i", z, np.linalg.inv(covariance), z)
    assert domain.distances(FEATURES) == pytest.approx(np.sqrt(squares / 13))
    assert (domain.distances(FEATURES) ** 2).mean() == pytest.approx(1)


def test_images_outside_of_the_directions_are_far_although_they_are_not_long() -> None:
    domain = Domain.fit(FEATURES, rank=3)
    elsewhere = FEATURES.mean(0) + FEATURES.std(0) * RANDOM.normal(size=(50, 13)) * 0.7
    assert domain.distances(elsewhere).min() > domain.distances(FEATURES).max()


def test_a_constant_feature_that_changes_is_far() -> None:
    constant = np.column_stack([FEATURES, np.full(211, 2.0)])
    domain = Domain.fit(constant)
    changed = constant + np.eye(14)[-1]
    assert (domain.distances(changed) > 2 * domain.distances(constant)).all()
    assert np.isfinite(domain.distances(constant)).all()


def test_arrays_are_read_back_to_their_precision_and_damaged_ones_are_refused() -> None:
    domain = Domain.fit(FEATURES, rank=3)
    arrays = domain.arrays()
    assert Domain.from_arrays(arrays).distances(FEATURES) == pytest.approx(domain.distances(FEATURES), rel=1e-4)
    for name, broken in (
        ("mean", arrays["mean"][:5]),
        ("variances", -arrays["variances"]),
        ("directions", arrays["directions"] * np.float32(np.nan)),
        ("remaining", np.zeros(1, np.float32)),
    ):
        with pytest.raises(InputError, match=r"^expected"):
            Domain.from_arrays({**arrays, name: broken})
    with pytest.raises(InputError, match="'deviation'"):
        Domain.from_arrays({name: array for name, array in arrays.items() if name != "deviation"})


def test_too_few_equal_or_infinite_images_are_refused() -> None:
    for wrong in (FEATURES[:1], FEATURES * np.inf, np.ones((5, 3))):
        with pytest.raises(InputError):
            Domain.fit(wrong)
