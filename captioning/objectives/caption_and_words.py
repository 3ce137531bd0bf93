"""Maximum likelihood, and beside it the words of the captions from the picture alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import Decoder, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.objectives.cross_entropy import CrossEntropy


class CaptionAndWords(nn.Module):
    """Cross-entropy of the captions, plus `weight` times that of detecting which words they use.

    An encoder that starts from nothing behind a decoder that sees the picture once hardly learns: words explain
    words first. Detectors tell it directly what captions speak of. At every place j of the grid, where a picture
    shows a word if one of its places does (noisy-or, their section 3), a shape is learned once for all places;
    on the pooled feature, what was learned arrives where the decoder reads it:

        p_jw = σ(v_w · grid_j + u_w)            p_w = 1 - Π_j (1 - p_jw)            q_w = σ(a_w · pooled + b_w)
        loss + weight / I · Σ_images Σ_w [BCE(p_w, w stands in a caption) + BCE(q_w, w stands in a caption)]

    Detectors are of use in training only and no part of a bundle.

    Source: Fang et al. 2015 (arXiv:1411.4952). Differs: together with the decoder; of every word of the
    vocabulary; on the pooled feature too; log(1 - p_w) = -Σ_j softplus(v_w · grid_j + u_w) is computed.

    Args:
        feature_size: F.
        vocab_size: V.
        weight: of the detectors' loss.
        label_smoothing: of the captions' cross-entropy.
        bias: u_w at the start; below 0, since most places show no word.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        weight: float = 0.3,
        label_smoothing: float = 0.0,
        bias: float = -5.0,
    ) -> None:
        super().__init__()
        self.places, self.whole = nn.Linear(feature_size, vocab_size), nn.Linear(feature_size, vocab_size)
        nn.init.constant_(self.places.bias, bias)
        self.weight, self.captions = weight, CrossEntropy(label_smoothing)

    def forward(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """The loss of a batch, a scalar.

        Raises:
            InputError: the encoder gives no grid.
        """
        if features.grid is None:
            raise InputError("caption_and_words detects words at the places of a grid; set encoder.grid=true")
        shown = F.softplus(self.places(features.grid).float())  # -log(1 - p_jw), (I, R, V)
        if features.mask is not None:
            shown = shown * features.mask[..., None]
        absent = -shown.sum(dim=1)  # log(1 - p_w), (I, V)
        targets = batch.targets()
        present = torch.zeros_like(absent)
        present[batch.image_index[packed_rows(targets)], targets.data] = 1.0
        on_grid = -torch.where(present.bool(), _log1mexp(absent), absent).sum()
        on_pooled = F.binary_cross_entropy_with_logits(self.whole(features.pooled).float(), present, reduction="sum")
        words = (on_grid + on_pooled) / len(present)
        return self.captions(decoder, features, batch) + self.weight * words


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) of x < 0; x is kept from 0, which a sum of underflows may be."""
    return torch.log(-torch.expm1(x.clamp(max=-1e-30)))
