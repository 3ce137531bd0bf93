"""Noisy-OR in context: a region shows a word more readily if the whole image suggests it."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from captioning.encoders.detectors.detector import WordDetector, grid_of
from captioning.encoders.detectors.noisy_or import any_region, first_biases
from captioning.encoders.features import ImageFeatures


@final
class NoisyOrInContext(WordDetector):
    """`NoisyOr` whose regions see the pooled feature too.

        z_ij = w · φ_ij + v · φ_i + u          φ_ij: region j of image i; φ_i: the pooled feature
        p_ij = σ(z_ij)                         p_i = 1 - Π_j (1 - p_ij)

    With v = 0 it is the noisy-OR of Fang et al. 2015 (arXiv:1411.4952), and with w = 0 it depends on the whole image
    alone. Words such as "playing" are in no region, and others are in a small one; one detector finds both. v is ours.

    Args:
        feature_size: F.
        vocab_size: V.
        dropout: on the features of the regions and of the image.

    Attributes:
        context: v, (V, F); zero at first.
    """

    def __init__(self, *, feature_size: int, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__(feature_size=feature_size, vocab_size=vocab_size, dropout=dropout)
        self.context = nn.Linear(feature_size, vocab_size, bias=False)
        nn.init.zeros_(self.context.weight)

    def region_logits(self, features: ImageFeatures) -> Tensor:
        """Compute z_ij of every region, (I, R, V); see `WordDetector.region_logits`."""
        z = super().region_logits(features)
        context: Tensor = self.context(self.dropout(features.pooled))
        return z + context.to(z.dtype)[:, None]

    def log_probs(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        """Compute log p and log(1 - p), (I, V) float32 each, as `NoisyOr` does."""
        return any_region(self.region_logits(features))

    def maps(self, features: ImageFeatures) -> Tensor:
        """Compute p_ij, (I, R, V) float32; 0 in padding."""
        return self.region_logits(features).sigmoid()

    @torch.no_grad()
    def start(self, frequencies: Tensor, features: ImageFeatures) -> None:
        """Set u as `NoisyOr` does."""
        self.head.bias.copy_(first_biases(frequencies, grid_of(self, features), features.mask))
