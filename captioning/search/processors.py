"""Functions that change next-token log-probabilities during a search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from captioning.text.tokenizer import SpecialTokens


class Processor(Protocol):
    """Maps (step, tokens so far, log-probabilities) to log-probabilities.

    A processor forbids a token by -inf. It does not renormalise, so that scores stay the decoder's own, and
    raises nothing above 0: beam search stops early on the ground that a score only falls. A class that a bundle
    may name derives from this one.
    """

    def __call__(self, step: int, tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        """Process one step.

        Args:
            step: 0 for the first word.
            tokens: (B, step) int64, the hypotheses so far.
            log_probs: (B, V); not to be changed in place.
        """
        ...


class Forbid(Processor):
    """Never choose these tokens.

    Args:
        ids: of the tokens.
    """

    def __init__(self, ids: Iterable[int]) -> None:
        self.ids = list(ids)

    def __call__(self, _step: int, _tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        """Give them -inf."""
        return log_probs.index_fill(1, torch.tensor(self.ids, dtype=torch.int64, device=log_probs.device), -torch.inf)


def never(special: SpecialTokens, *, allow_unknown: bool) -> Forbid:
    """Forbid what is never part of a caption: `<pad>`, `<bos>` and, unless allowed, `<unk>`."""
    return Forbid([special.pad, special.bos] + ([] if allow_unknown else [special.unk]))


def apply(processors: Sequence[Processor], step: int, tokens: Tensor, log_probs: Tensor) -> Tensor:
    """Compose `processors` in order."""
    for processor in processors:
        log_probs = processor(step, tokens, log_probs)
    return log_probs
