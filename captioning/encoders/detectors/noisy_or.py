"""Noisy-OR: an image shows a word if at least one of its regions does."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.encoders.detectors.detector import WordDetector, grid_of, possible
from captioning.encoders.features import ImageFeatures

_SMALL = 1e-20
"""Below this s, 1 - e^(-s) = s and softplus(z) = e^z in float64 too, and the gradient 1 / s would overflow float32."""


@final
class NoisyOr(WordDetector):
    """The probability that at least one region shows the word, if regions are independent.

        p_ij = σ(z_ij)             p_i = 1 - Π_j (1 - p_ij)

    Products of many factors lose all digits in float32, so the code computes logarithms (softplus(z) = log(1 + e^z)):

        s_i = Σ_j softplus(z_ij)                                                (1)
        log(1 - p_i) = -s_i                                                     (2)
        log p_i = log(1 - e^(-s_i)), or logsumexp_j z_ij where s_i < 1e-20      (3)

    With w = 0, all R regions have the logit u, and p_i is the frequency f if

        s = -log(1 - f)            u = log(e^(s / R) - 1)                       (4)

    Source: Fang et al. 2015 (arXiv:1411.4952). The numbers of the equations are ours.
    Differs: the official code starts every word at u = -6.58, which with its 144 regions is p_i = 0.18. Padding of an
    image is no region here; there, the grey border of an image counts.

    Args:
        feature_size: F.
        vocab_size: V.
        dropout: on the regions' features.
    """

    def log_probs(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        """Compute log p and log(1 - p) by (1) to (3), (I, V) float32 each."""
        return any_region(self.region_logits(features))

    def maps(self, features: ImageFeatures) -> Tensor:
        """Compute p_ij, (I, R, V) float32; 0 in padding."""
        return self.region_logits(features).sigmoid()

    @torch.no_grad()
    def start(self, frequencies: Tensor, features: ImageFeatures) -> None:
        """Set u by (4), where R is the mean number of regions of the given images."""
        self.head.bias.copy_(first_biases(frequencies, grid_of(self, features), features.mask))


def any_region(z: Tensor) -> tuple[Tensor, Tensor]:
    """Compute log p and log(1 - p) by (1) to (3) from the logits of regions, (I, R, V); (I, V) each."""
    s = F.softplus(z).sum(1)  # (1)
    log_p = torch.where(s < _SMALL, z.logsumexp(1), (-torch.expm1(-s.clamp(min=_SMALL))).log())  # (3)
    return log_p, -s  # (2)


def first_biases(frequencies: Tensor, grid: Tensor, mask: Tensor | None) -> Tensor:
    """Compute u by (4) from the words' frequencies, (V,) float64; grid and mask give the mean number of regions."""
    num_regions = grid.shape[1] if mask is None else mask.sum(1).double().mean()
    s = -torch.log1p(-possible(frequencies))
    return torch.expm1(s / num_regions).log()  # (4)
