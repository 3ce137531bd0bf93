"""How far a detector's probabilities are from precisions."""

from __future__ import annotations

import numpy as np
import pytest

from captioning.training.detection import calibration_error


def test_probabilities_that_are_precisions_have_no_error() -> None:
    counts = np.array([[5]] * 3 + [[0]] * 3)  # said six times: tp = 3 · 5 · 4/5 = 12, fp = 3
    assert calibration_error(np.full((6, 1), 12 / 15), counts) == pytest.approx(0, abs=1e-12)


def test_the_error_is_the_distance_weighted_by_the_size_of_the_bins() -> None:
    counts = np.array([[5], [0], [1]])
    probabilities = np.array([[0.95], [0.55], [0.52]])
    # The bin from 0.9 has precision 1. That from 0.5 has tp = 4/5 and fp = 1 + 1/5, so its precision is 0.4.
    assert calibration_error(probabilities, counts) == pytest.approx((1 * 0.05 + 2 * (0.535 - 0.4)) / 3)


def test_words_that_are_not_said_count_for_nothing() -> None:
    assert calibration_error(np.full((4, 3), 0.05), np.zeros((4, 3), int)) == 0
