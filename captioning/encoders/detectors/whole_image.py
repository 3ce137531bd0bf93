"""Whole image: one classifier for each word, on the pooled feature."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.encoders.detectors.detector import WordDetector, possible
from captioning.encoders.features import ImageFeatures


@final
class WholeImage(WordDetector):
    """Logistic regression of each word on the pooled feature φ_i: the baseline of detectors that look at regions.

        p_i = σ(w · φ_i + u)

    Args:
        feature_size: F.
        vocab_size: V.
        dropout: on the pooled feature.
    """

    def log_probs(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        """Compute log p and log(1 - p), (I, V) float32 each."""
        z = self.logits(features.pooled)
        return F.logsigmoid(z), F.logsigmoid(-z)

    def maps(self, features: ImageFeatures) -> Tensor:
        """Compute p_i, as the only region of each image, (I, 1, V) float32."""
        return self.logits(features.pooled).sigmoid()[:, None]

    @torch.no_grad()
    def start(self, frequencies: Tensor, features: ImageFeatures) -> None:
        """Set u = log(f / (1 - f))."""
        self.head.bias.copy_(possible(frequencies).logit())
