"""Logistic regression of a few signals, from plain numbers to plain numbers."""

from __future__ import annotations

from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.json_files import Finite

Floats = NDArray[np.float64]

PENALTY = 1.0
"""The weight of the squared norm, halved, against the sum of the losses of all examples."""
_MOST_STEPS = 100
_CONSTANT = 1e-9


class Logistic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The probability of an event, p = sigmoid(bias + sum_k weight_k (signal_k - mean_k) / deviation_k).

    Attributes:
        means: of K signals.
        deviations: of the signals, above 0.
        weights: of the standardised signals.
        bias: the logit at the means.
    """

    means: tuple[Finite, ...]
    deviations: tuple[Finite, ...]
    weights: tuple[Finite, ...]
    bias: Finite

    def __call__(self, signals: Floats) -> Floats:
        """Compute the probability of each row of signals, (n, K) to (n)."""
        standardised = (signals - np.array(self.means)) / np.array(self.deviations)
        return _sigmoid(standardised @ np.array(self.weights) + self.bias)

    def fits(self, num_signals: int) -> bool:
        """Return whether there are K of everything, and whether the deviations are above 0."""
        sizes = {len(self.means), len(self.deviations), len(self.weights)}
        return sizes == {num_signals} and all(deviation > 0 for deviation in self.deviations)

    @classmethod
    def fit(cls, signals: Floats, events: NDArray[np.bool_]) -> Self:
        """Maximise the likelihood with an L2 penalty on the weights, by Newton's method.

        The bias has no penalty, so the mean probability of these examples is the share of events. A constant signal
        gets the weight 0.

        Args:
            signals: (n, K) finite.
            events: (n).

        Raises:
            InputError: all examples have the same outcome, or a signal is not finite.
        """
        if events.all() or not events.any():
            raise InputError(f"all {len(events)} examples have the same outcome, so no probability can be fitted")
        if not np.isfinite(signals).all():
            raise InputError("a signal is not finite; check the model's weights and its features")
        means, deviations = signals.mean(0), signals.std(0)
        deviations[deviations < _CONSTANT * np.maximum(1, np.abs(means))] = 1.0
        design = np.column_stack([(signals - means) / deviations, np.ones(len(signals))])
        penalty = np.diag([PENALTY] * len(means) + [0.0])
        share = events.mean()
        weights = np.append(np.zeros(len(means)), np.log(share / (1 - share)))
        for _ in range(_MOST_STEPS):
            probabilities = _sigmoid(design @ weights)
            gradient = design.T @ (probabilities - events) + penalty @ weights
            hessian = (design * (probabilities * (1 - probabilities))[:, None]).T @ design + penalty
            step = np.linalg.solve(hessian, gradient)
            weights -= step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))  # far from the optimum, no further than 2
            if np.abs(step).max() < 1e-9:
                break
        return cls(tuple(means.tolist()), tuple(deviations.tolist()), tuple(weights[:-1].tolist()), float(weights[-1]))


def _sigmoid(x: Floats) -> Floats:
    probabilities: Floats = 0.5 * (1 + np.tanh(x / 2))  # cannot overflow
    return probabilities
