"""Functions that change the next token's log-probabilities during a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from captioning.text.tokenizer import SpecialTokens


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


def never(special: SpecialTokens, *, allow_unknown: bool) -> Processor:
    """Forbid what no caption contains: `<pad>`, `<bos>` and, unless allowed, `<unk>`.

    The processor changes the log-probabilities in place, because a copy of them would cost as much time as their
    softmax. A search applies it first, to its own tensor.
    """
    ids = [special.pad, special.bos] + ([] if allow_unknown else [special.unk])

    def forbid(_step: int, _tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        return log_probs.index_fill_(1, torch.tensor(ids, device=log_probs.device), -torch.inf)

    return forbid


def apply(processors: Sequence[Processor], step: int, tokens: Tensor, log_probs: Tensor) -> Tensor:
    """Apply `processors` in order."""
    for processor in processors:
        log_probs = processor(step, tokens, log_probs)
    return log_probs
