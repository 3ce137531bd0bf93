"""Conformal risk control keeps the expected share of wrong captions below the limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from captioning.errors import InputError
from captioning.metrics.risk_control import least_confidence


def test_the_threshold_is_the_infimum_of_the_paper_s_equation() -> None:
    random = np.random.default_rng(0)
    confidences, right = random.random(61), random.random(61) < 0.5
    for risk in (0.05, 0.1, 0.2, 0.4):
        kept = [
            level
            for level in sorted({0.0, *confidences})
            if 61 / 62 * np.mean((confidences > level) & ~right) + 1 / 62 <= risk
        ]
        given = confidences >= least_confidence(confidences, right, risk)
        assert (given == (confidences > kept[0])).all()


@pytest.mark.parametrize(("n", "risk"), [(19, 0.1), (99, 0.2), (250, 0.05)])
def test_the_expected_share_of_wrong_captions_is_below_the_limit_and_close_to_it(n: int, risk: float) -> None:
    """The n images and the next one are drawn anew each time, and confidences say little about correctness."""
    random, losses = np.random.default_rng(n), []
    for _ in range(4000):
        confidences = random.random(n + 1)
        right = random.random(n + 1) < 0.3 + 0.4 * confidences
        least = least_confidence(confidences[:n], right[:n], risk)
        losses.append(confidences[n] >= least and not right[n])
    error = math.sqrt(risk / 4000)
    assert risk - 2 / (n + 1) - 4 * error < np.mean(losses) < risk + 3 * error


def test_all_captions_are_given_if_few_are_wrong_and_none_if_there_are_too_few_images() -> None:
    confidences = np.linspace(0.1, 0.9, 9)
    assert least_confidence(confidences, np.ones(9, bool), 0.1) == 0.0
    assert least_confidence(confidences, np.ones(9, bool), 0.05) == math.inf


@pytest.mark.parametrize("risk", [0.0, 1.0, -0.2, math.nan])
def test_a_risk_that_is_no_share_is_refused(risk: float) -> None:
    with pytest.raises(InputError, match=r"risk=.* expected a share between 0 and 1"):
        least_confidence(np.array([0.5]), np.array([True]), risk)
