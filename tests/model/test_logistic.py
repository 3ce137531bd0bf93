"""Logistic regression by Newton's method."""

from __future__ import annotations

import numpy as np
import pytest

from captioning.errors import InputError
from captioning.model.logistic import PENALTY, Logistic

RANDOM = np.random.default_rng(0)
SIGNALS = RANDOM.normal(3, [1, 5], (997, 2))
PROBABILITIES = 1 / (1 + np.exp(-(0.5 + (SIGNALS - 3) @ np.array([1.0, -0.2]))))
EVENTS = RANDOM.random(997) < PROBABILITIES


def test_the_gradient_of_the_penalised_likelihood_is_zero() -> None:
    found = Logistic.fit(SIGNALS, EVENTS)
    residual = found(SIGNALS) - EVENTS
    standardised = (SIGNALS - found.means) / np.array(found.deviations)
    assert standardised.T @ residual + PENALTY * np.array(found.weights) == pytest.approx(0, abs=1e-7)
    assert residual.sum() == pytest.approx(0, abs=1e-7)


def test_the_probabilities_are_those_that_made_the_events() -> None:
    assert np.abs(Logistic.fit(SIGNALS, EVENTS)(SIGNALS) - PROBABILITIES).mean() < 0.03


def test_a_constant_signal_changes_nothing_and_separable_events_converge() -> None:
    with_constant = np.column_stack([SIGNALS, np.full(997, 1.1)])
    found = Logistic.fit(with_constant, EVENTS)
    assert found.weights[2] == pytest.approx(0, abs=1e-12)
    assert found(with_constant) == pytest.approx(Logistic.fit(SIGNALS, EVENTS)(SIGNALS))
    separable = Logistic.fit(SIGNALS, SIGNALS[:, 0] > 3)
    assert ((separable(SIGNALS) > 0.5) == (SIGNALS[:, 0] > 3)).mean() > 0.95


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="all 997 examples have the same outcome"):
        Logistic.fit(SIGNALS, np.ones(997, bool))
    with pytest.raises(InputError, match="not finite"):
        Logistic.fit(np.where(SIGNALS > 3, np.nan, SIGNALS), EVENTS)


def test_parts_of_different_sizes_do_not_fit() -> None:
    assert Logistic((0.0,), (1.0,), (2.0,), 0.0).fits(1)
    assert not Logistic((0.0,), (1.0,), (2.0, 1.0), 0.0).fits(1)
    assert not Logistic((0.0,), (0.0,), (2.0,), 0.0).fits(1)
