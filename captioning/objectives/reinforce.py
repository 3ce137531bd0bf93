"""REINFORCE for decoders that draw the place they look at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import AttentiveDecoder, packed_rows
from captioning.encoders.features import ImageFeatures


class Reinforce(nn.Module):
    """The gradient of hard attention's variational bound, per token.

        ∂L_s ≈ ∂log p(y|s̃,a) + λ_r (log p(y|s̃,a) - b) ∂log p(s̃|a) + λ_e ∂H[s̃]        (after (6), (7))
        b_k = 0.9 b_{k-1} + 0.1 log p(y|s̃_k,a)

    Source: Xu et al. 2015 (arXiv:1502.03044), section 4.1. What is returned is no likelihood: its gradient is the
    above's negative, divided by the batch's tokens as `CrossEntropy` is.

    Args:
        reward_weight: λ_r.
        entropy_weight: λ_e.

    Attributes:
        baseline: b, the moving average of the captions' mean log-probability; part of a checkpoint.
    """

    baseline: Tensor

    def __init__(self, *, reward_weight: float = 1.0, entropy_weight: float = 0.002) -> None:
        super().__init__()
        self.reward_weight, self.entropy_weight = reward_weight, entropy_weight
        self.register_buffer("baseline", torch.zeros(()))

    def forward(self, decoder: AttentiveDecoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """The loss of a batch, a scalar."""
        inputs, targets = batch.inputs(), batch.targets().data
        attended = decoder.attend(features, inputs, batch.image_index)
        log_p = -F.cross_entropy(decoder.head(attended.hidden).float(), targets, reduction="none")
        of_caption = packed_rows(inputs)

        def sums(x: Tensor) -> Tensor:
            return x.new_zeros(len(batch.lengths)).index_add(0, of_caption, x)

        reward = sums(log_p.detach())
        if self.training:
            self.baseline.lerp_(reward.mean(), 0.1)
        log_s = sums(attended.log_choice.float())
        alpha = attended.attention.float()
        entropy = -torch.xlogy(alpha, alpha).sum(1)
        bound = (
            log_p.sum()
            + self.reward_weight * ((reward - self.baseline) * log_s).sum()
            + self.entropy_weight * entropy.sum()
        )
        return -bound / len(targets)
