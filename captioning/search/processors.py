"""Functions that change the next token's log-probabilities during a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from captioning.errors import InputError
from captioning.text.tokenizer import SpecialTokens

MOST_WORDS, STRONGEST_PENALTY = 4096, 10.0
"""The largest length and size in words, and the largest θ."""


class Processor(Protocol):
    """Maps (step, tokens so far, log-probabilities) to log-probabilities.

    A processor forbids a token by setting its log-probability to -inf. It does not renormalise, so scores stay the
    decoder's own. It returns no value above 0, because the early stop of beam search assumes that scores only fall. A
    bundle can contain only processors that derive from this class.
    """

    def __call__(self, step: int, tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        """Process one step.

        Args:
            step: 0 for the first word.
            tokens: (B, step) int64, the hypotheses so far.
            log_probs: (B, V); must not be changed in place.
        """
        ...


@dataclass(frozen=True)
class Forbid(Processor):
    """Forbids tokens in every step.

    Args:
        ids: the ids of the tokens.
    """

    ids: Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))

    def __call__(self, _step: int, _tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        """Set the log-probabilities of the tokens to -inf."""
        return log_probs.index_fill(1, torch.tensor(self.ids, dtype=torch.int64, device=log_probs.device), -torch.inf)


@dataclass(frozen=True)
class MinLength(Processor):
    """Forbids `<eos>` until a caption has enough words.

    A caption that reaches the search's `max_length` before is truncated, as any other.

    Args:
        length: the least number of words, `<eos>` not counted; at most 4,096.
        eos: the id of `<eos>`.

    Raises:
        InputError: `length` is not in 0..4096.
    """

    length: int
    eos: int

    def __post_init__(self) -> None:
        if not 0 <= self.length <= MOST_WORDS:
            raise InputError(f"length={self.length} must be in 0..{MOST_WORDS}")

    def __call__(self, step: int, _tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        """Set the log-probability of `<eos>` to -inf before the word `length` + 1."""
        if step >= self.length:
            return log_probs
        return log_probs.index_fill(1, torch.tensor([self.eos], device=log_probs.device), -torch.inf)


@dataclass(frozen=True)
class NoRepeatNgrams(Processor):
    """Forbids tokens that would repeat an n-gram of the caption.

    Source: Paulus et al. 2017 (arXiv:1705.04304), section 2.5, for trigrams.

    Args:
        size: n, the number of tokens of an n-gram; 1 lets every token occur once. In 1..4096.

    Raises:
        InputError: `size` is not in 1..4096.
    """

    size: int

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MOST_WORDS:
            raise InputError(f"size={self.size} must be in 1..{MOST_WORDS}")

    def __call__(self, step: int, tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        """Set the log-probability of each token that follows the last n - 1 tokens elsewhere to -inf."""
        if step < self.size:
            return log_probs
        ngrams = tokens.unfold(1, self.size, 1)  # (B, step - n + 1, n)
        repeated = (ngrams[:, :, :-1] == tokens[:, None, step - self.size + 1 :]).all(2)
        rows, at = repeated.nonzero(as_tuple=True)
        if not len(rows):
            return log_probs
        return log_probs.index_put((rows, ngrams[rows, at, -1]), log_probs.new_tensor(-torch.inf))


@dataclass(frozen=True)
class RepetitionPenalty(Processor):
    """Makes the tokens that a caption already has less probable.

    Source: Keskar et al. 2019 (arXiv:1909.05858), section 4.1.

        log p'(w) = θ log p(w)    if w is in the caption so far

    The scores of a search with this processor are sums of log p', not the decoder's own log-probabilities.

    Differs: the paper divides logits by θ, which makes a token with a negative logit more probable. A log-probability
    is never above 0, so its multiple by θ never rises, and the early stop of beam search stays exact. The other
    tokens' probabilities are not renormalised.

    Args:
        penalty: θ, in 1..10; 1 changes nothing.

    Raises:
        InputError: `penalty` is out of range.
    """

    penalty: float

    def __post_init__(self) -> None:
        if not 1 <= self.penalty <= STRONGEST_PENALTY:  # NaN too
            raise InputError(f"penalty={self.penalty} must be in 1..{STRONGEST_PENALTY:g}")

    def __call__(self, _step: int, tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        """Multiply the log-probabilities of the tokens so far by θ."""
        return log_probs.scatter(1, tokens, self.penalty * log_probs.gather(1, tokens))


def special_ids(special: SpecialTokens, *, allow_unknown: bool) -> list[int]:
    """Return the ids of what no caption contains: `<pad>`, `<bos>` and, unless allowed, `<unk>`."""
    return [special.pad, special.bos] + ([] if allow_unknown else [special.unk])


def never(special: SpecialTokens, *, allow_unknown: bool) -> Processor:
    """Forbid what no caption contains; see `special_ids`.

    The processor changes the log-probabilities in place, because a copy of them would cost as much time as their
    softmax. A search applies it first, to its own tensor.
    """
    ids = torch.tensor(special_ids(special, allow_unknown=allow_unknown))

    def forbid(_step: int, _tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        return log_probs.index_fill_(1, ids.to(log_probs.device), -torch.inf)

    return forbid


def apply(processors: Sequence[Processor], step: int, tokens: Tensor, log_probs: Tensor) -> Tensor:
    """Apply `processors` in order."""
    for processor in processors:
        log_probs = processor(step, tokens, log_probs)
    return log_probs
