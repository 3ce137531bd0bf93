"""Maximum likelihood, and beside it the words of the captions from the picture alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import Decoder, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.objectives.cross_entropy import CrossEntropy


class CaptionAndWords(nn.Module):
    """Cross-entropy of the captions, plus `weight` times that of detecting which words they use.

    An encoder that starts from nothing behind a decoder that sees the picture once hardly learns: words explain
    words first. Detectors on the pooled feature tell it directly what captions speak of. They are of use in
    training only and no part of a bundle.

        p_w = σ(v_w · pooled + u_w)        loss + weight / I · Σ_images Σ_w BCE(p_w, w stands in a caption)

    Source: the word detectors of Fang et al. 2015 (arXiv:1411.4952). Differs: on the whole picture, without
    their noisy-or over regions, and together with the decoder.

    Args:
        feature_size: F.
        vocab_size: V.
        weight: of the detectors' loss; 0.1 makes both of about the same size.
        label_smoothing: of the captions' cross-entropy.
    """

    def __init__(
        self, *, feature_size: int, vocab_size: int, weight: float = 0.1, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.words = nn.Linear(feature_size, vocab_size)
        self.weight, self.captions = weight, CrossEntropy(label_smoothing)

    def forward(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """The loss of a batch, a scalar."""
        detected = self.words(features.pooled).float()
        targets = batch.targets()
        present = torch.zeros_like(detected)
        present[batch.image_index[packed_rows(targets)], targets.data] = 1.0
        words = F.binary_cross_entropy_with_logits(detected, present, reduction="sum") / len(present)
        return self.captions(decoder, features, batch) + self.weight * words
