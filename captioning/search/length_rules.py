"""Rules by which searches order hypotheses of different lengths.

A decoder's log-probability falls with every token, so the most probable caption is often too short. Each rule below
maps the log-probability and the length of a hypothesis to its rank, and the hypothesis of the highest rank is the best.
Returned scores stay log-probabilities.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from captioning.errors import InputError

STRONGEST = 10.0
"""The largest α."""
MOST_PER_WORD = 1000.0
"""The largest absolute value of γ."""


class LengthRule(ABC):
    """Ranks hypotheses by log-probability and length.

    Of two hypotheses of one length, the more probable one has the higher rank. A bundle can contain only rules that
    derive from this class.
    """

    @abstractmethod
    def rank(self, log_prob: Tensor, length: int | Tensor) -> Tensor:
        """Compute the ranks of finished hypotheses.

        Args:
            log_prob: of any shape.
            length: the number of tokens, `<eos>` included; of the same shape if it is a tensor.
        """

    @abstractmethod
    def bound(self, log_prob: Tensor, length: int, max_length: int) -> Tensor:
        """Compute a rank that no hypothesis which continues a prefix can exceed.

        A search stops early by this bound. It relies on log-probabilities that only fall.

        Args:
            log_prob: of the prefixes.
            length: the number of tokens of the prefixes.
            max_length: the largest number of tokens of a hypothesis, `<eos>` included; larger than `length`.
        """


@dataclass(frozen=True)
class Power(LengthRule):
    """Divides the log-probability by length^α: 1 gives the mean log-probability of a token, 0 the log-probability.

    Args:
        alpha: α, in 0..10.

    Raises:
        InputError: α is out of range.
    """

    alpha: float

    def __post_init__(self) -> None:
        _check_strength("alpha", self.alpha)

    def rank(self, log_prob: Tensor, length: int | Tensor) -> Tensor:
        """Compute log p / length^α."""
        ranks: Tensor = log_prob / length**self.alpha
        return ranks

    def bound(self, log_prob: Tensor, length: int, max_length: int) -> Tensor:
        """Divide by the largest length: the log-probability is at most 0."""
        return self.rank(log_prob, max_length)


@dataclass(frozen=True)
class Gnmt(LengthRule):
    """Divides the log-probability by a penalty that grows more slowly than the length.

    Source: Wu et al. 2016 (arXiv:1609.08144), eq. 14:

        lp(Y) = (5 + |Y|)^α / (5 + 1)^α

    Args:
        alpha: α, in 0..10. The paper's experiments have 0.6 to 0.7.

    Raises:
        InputError: α is out of range.
    """

    alpha: float

    def __post_init__(self) -> None:
        _check_strength("alpha", self.alpha)

    def rank(self, log_prob: Tensor, length: int | Tensor) -> Tensor:
        """Compute log p / lp."""
        ranks: Tensor = log_prob / ((5 + length) / 6) ** self.alpha  # (14)
        return ranks

    def bound(self, log_prob: Tensor, length: int, max_length: int) -> Tensor:
        """Divide by the largest penalty: the log-probability is at most 0."""
        return self.rank(log_prob, max_length)


@dataclass(frozen=True)
class Reward(LengthRule):
    """Adds a reward for each word to the log-probability.

    Source: He et al. 2016, "Improved neural machine translation with SMT features"; Murray and Chiang 2018
    (arXiv:1808.10006), who tune γ.

        log p + γ · words

    `<eos>` is no word.

    Args:
        per_word: γ in nats; below 0 prefers short captions. Its absolute value is at most 1,000.

    Raises:
        InputError: γ is out of range.
    """

    per_word: float

    def __post_init__(self) -> None:
        if not abs(self.per_word) <= MOST_PER_WORD:  # NaN too
            raise InputError(f"per_word={self.per_word} must be in -{MOST_PER_WORD:g}..{MOST_PER_WORD:g}")

    def rank(self, log_prob: Tensor, length: int | Tensor) -> Tensor:
        """Compute log p + γ · words."""
        return log_prob + self.per_word * (length - 1)

    def bound(self, log_prob: Tensor, length: int, max_length: int) -> Tensor:
        """Add the largest reward: that of the most words if γ is above 0, else that of no further word."""
        return log_prob + self.per_word * (max_length - 1 if self.per_word > 0 else length)


def as_rule(length_normalization: float | LengthRule) -> LengthRule:
    """Return the rule that a search's setting names; a number is α of `Power`.

    Raises:
        InputError: the setting is neither a number in 0..10 nor a rule.
    """
    if isinstance(length_normalization, LengthRule):
        return length_normalization
    if not isinstance(length_normalization, (int, float)):
        raise InputError(
            f"length_normalization={str(length_normalization)[:80]}: expected a number, or a rule such as "
            "{_target_: captioning.search.Gnmt, alpha: 0.6}"
        )
    _check_strength("length_normalization", length_normalization)
    return Power(length_normalization)


def _check_strength(name: str, value: float) -> None:
    if value < 0:
        raise InputError(f"{name}={value} must be at least 0")
    if not value <= STRONGEST:  # NaN too
        raise InputError(f"{name}={value} must be at most {STRONGEST:g}")
