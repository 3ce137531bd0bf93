"""Reliability, expected calibration error, risk by coverage, and AUROC."""

from __future__ import annotations

import math

import numpy as np
import pytest

from captioning.errors import InputError
from captioning.metrics.calibration import auroc, reliability, risks

RANDOM = np.random.default_rng(0)
CONFIDENCES = RANDOM.random(701)
RIGHT = RANDOM.random(701) < CONFIDENCES**2


def test_bins_of_equal_width_and_the_error_are_those_of_a_loop() -> None:
    error, counts = 0.0, []
    for low in range(15):
        inside = [i for i, p in enumerate(CONFIDENCES) if low / 15 <= p < (low + 1) / 15]
        counts.append(len(inside))
        error += abs(sum(RIGHT[inside]) - sum(CONFIDENCES[inside])) / len(CONFIDENCES)
    found = reliability(CONFIDENCES, RIGHT, binning="equal_width", num_replicates=2)
    assert found.counts == tuple(counts)
    assert found.ece == pytest.approx(error, abs=1e-12)


def test_bins_of_equal_mass_have_at_least_a_hundred_outcomes_and_ties_stay_together() -> None:
    assert sorted(reliability(CONFIDENCES, RIGHT, num_replicates=2).counts) == [100] * 6 + [101]
    tied = np.repeat([0.2, 0.8], [300, 401])
    assert reliability(tied, RIGHT, num_replicates=2).counts == (300, 401)


def test_confidences_that_are_probabilities_have_about_the_error_of_chance() -> None:
    confidences = np.random.default_rng(1).random(5000)
    right = np.random.default_rng(2).random(5000) < confidences
    found = reliability(confidences, right, num_replicates=100)
    assert found.ece == pytest.approx(found.chance, rel=0.6)
    assert found.ece < 0.04 < reliability(confidences, ~right, num_replicates=2).ece
    assert found.low <= found.high


def test_the_interval_draws_images_with_all_their_outcomes() -> None:
    images = np.repeat(np.arange(50), 14)
    clustered = np.repeat(np.random.default_rng(3).random(50) < 0.5, 14)
    flat = np.full(700, 0.5)
    apart, together = (reliability(flat, clustered, own) for own in (None, images))
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_risk_is_the_share_of_wrong_ones_among_the_most_confident() -> None:
    confidences, right = np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False])
    assert risks(confidences, right, (1.0, 0.75, 0.5, 0.25)) == [0.5, 1 / 3, 0.5, 0.0]
    assert risks(np.full(4, 0.5), right, (1.0, 0.5)) == [0.5, 0.5]


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    scores, positive = np.round(CONFIDENCES[:97], 1), RIGHT[:97]
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert math.isnan(auroc(scores, np.ones(97, bool)))


@pytest.mark.parametrize("wrong", [np.array([0.5, 1.5]), np.array([0.5, np.nan]), np.array([0.5])])
def test_what_is_no_probability_or_lacks_an_outcome_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^expected"):
        reliability(wrong, np.array([True, False]))


@pytest.mark.parametrize("coverage", [0.0, 1.1, math.nan])
def test_a_coverage_that_is_no_share_is_refused(coverage: float) -> None:
    with pytest.raises(InputError, match="coverage="):
        risks(CONFIDENCES, RIGHT, [coverage])
