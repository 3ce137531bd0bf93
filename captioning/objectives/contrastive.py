"""The contrastive loss of matchers: the probability of the true pair among all pairs of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.matchers.matcher import Matcher
from captioning.objectives.averages import Mean
from captioning.objectives.pairs import score_pairs


@dataclass(frozen=True)
class Contrastive:
    """The mean over true pairs of the cross-entropy of finding the caption, and of finding the image.

        -1/N Σ_n [ log exp(γ S_kn) / Σ_l exp(γ S_kl) + log exp(γ S_kn) / Σ_i exp(γ S_in) ]

    k is the image of caption n. The first sum is over caption n and the captions of other images, the second over all
    images. γ is the inverse of a temperature, for scores such as cosines that lie in a fixed range.
    Source: as in CLIP (Radford et al. 2021, arXiv:2103.00020), but γ is not learned.

    Negatives are of the process's own batch. A batch of one image has none, and its loss is 0.

    Args:
        eos: the id of `<eos>`.
        gamma: γ.

    Raises:
        InputError: γ is not positive.
    """

    trains: ClassVar[type[nn.Module]] = Matcher
    eos: int
    gamma: float = 20.0

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise InputError(f"gamma={self.gamma} must be positive")

    def __call__(self, matcher: Matcher, features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        return self.means(matcher, features, batch)[0].value

    def means(self, matcher: Matcher, features: ImageFeatures, batch: CaptionBatch) -> tuple[Mean]:
        """Compute the mean over captions."""
        pairs = score_pairs(matcher, features, batch, eos=self.eos)
        n = torch.arange(len(pairs.index), device=pairs.index.device)
        captions = (self.gamma * pairs.captions).masked_fill(pairs.own_captions & (n[:, None] != n), -torch.inf)
        i = torch.arange(len(pairs.images), device=n.device)
        images = self.gamma * pairs.images.t()
        images = images.masked_fill(pairs.own.t() & (pairs.index[:, None] != i), -torch.inf)
        return (Mean(F.cross_entropy(captions, n) + F.cross_entropy(images, pairs.index), len(n)),)
