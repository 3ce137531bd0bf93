"""Max over regions: an image shows a word as clearly as its best region does."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.encoders.detectors.detector import WordDetector, grid_of, possible
from captioning.encoders.features import ImageFeatures


@final
class MaxOverRegions(WordDetector):
    """The probability of a word in the region that shows it best.

        p_ij = σ(z_ij)             p_i = max_j p_ij = σ(max_j z_ij)

    The gradient reaches that region alone; regions with equal logits share it.

    Source: the official code of Fang et al. 2015 (arXiv:1411.4952) has this rule beside the noisy-OR.

    Args:
        feature_size: F.
        vocab_size: V.
        dropout: on the regions' features.
    """

    def log_probs(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        """Compute log p and log(1 - p), (I, V) float32 each."""
        z = self.region_logits(features).amax(1)
        return F.logsigmoid(z), F.logsigmoid(-z)

    def maps(self, features: ImageFeatures) -> Tensor:
        """Compute p_ij, (I, R, V) float32; 0 in padding."""
        return self.region_logits(features).sigmoid()

    @torch.no_grad()
    def start(self, frequencies: Tensor, features: ImageFeatures) -> None:
        """Set u = log(f / (1 - f))."""
        grid_of(self, features)
        self.head.bias.copy_(possible(frequencies).logit())
