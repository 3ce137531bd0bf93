"""How the probability of the true word falls during training, for scheduled sampling.

    ε_i = max(ε, k - c i)            linear
    ε_i = k^i                        exponential, k < 1
    ε_i = k / (k + exp(i / k))       inverse sigmoid, k >= 1

i counts the training steps from 0. Source: Bengio et al. 2015 (arXiv:1506.03099), section 2.4.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from captioning.errors import InputError


class Decay(ABC):
    """A probability for each step."""

    @abstractmethod
    def __call__(self, i: int) -> float:
        """Return ε_i, the probability of the true word in step i."""


@dataclass(frozen=True)
class Linear(Decay):
    """The probability falls by the same amount in each step.

    Args:
        k: the probability in the first step.
        c: by how much it falls in each step.
        least: ε, the smallest probability.

    Raises:
        InputError: a probability is not in 0..1, or `c` is below 0.
    """

    k: float = 1.0
    c: float = 1e-4
    least: float = 0.75

    def __post_init__(self) -> None:
        if not (0 <= self.least <= 1 and 0 <= self.k <= 1 and 0 <= self.c < math.inf):
            raise InputError(f"k={self.k} and least={self.least} must be in 0..1, and c={self.c} at least 0")

    def __call__(self, i: int) -> float:
        """See `Decay`."""
        return max(self.least, self.k - self.c * i)


@dataclass(frozen=True)
class Exponential(Decay):
    """The probability is multiplied by k in each step.

    Args:
        k: in 0..1.

    Raises:
        InputError: `k` is not in 0..1.
    """

    k: float

    def __post_init__(self) -> None:
        if not 0 <= self.k <= 1:
            raise InputError(f"k={self.k} must be in 0..1")

    def __call__(self, i: int) -> float:
        """See `Decay`."""
        return float(self.k**i)


@dataclass(frozen=True)
class InverseSigmoid(Decay):
    """The probability stays near 1 and then falls; it is k / (k + 1) in the first step, and 1/2 in step k ln k.

    Args:
        k: at least 1.

    Raises:
        InputError: `k` is below 1.
    """

    k: float

    def __post_init__(self) -> None:
        if not 1 <= self.k < math.inf:
            raise InputError(f"k={self.k} must be a number of at least 1")

    def __call__(self, i: int) -> float:
        """See `Decay`."""
        return 1 / (1 + math.exp(min(i / self.k - math.log(self.k), 700)))
