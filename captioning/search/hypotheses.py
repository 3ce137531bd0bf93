"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.text.tokenizer import SpecialTokens


@dataclass(frozen=True)
class Hypotheses:
    """The n best captions of I images, best first.

    Attributes:
        tokens: (I, n, T) int64, without `<bos>`, `<eos>` included where the caption ended, then padding.
        lengths: (I, n) int64, tokens that are no padding; 0 where fewer than n hypotheses were found.
        scores: (I, n) float32, the sum of the tokens' log-probabilities; -inf where there is none.
        token_scores: (I, n, T) float32, log-probability of each token; 0 at padding.
        finished: (I, n) bool, False where the caption was cut at the longest length.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    token_scores: Tensor
    finished: Tensor


class Search(Protocol):
    """Finds captions of images; a class that a bundle may name derives from this one."""

    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """Search for each image of `features`; a decoder in eval mode gives reproducible captions."""
        ...
