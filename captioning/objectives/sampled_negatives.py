"""The loss of the deep multimodal similarity model: the probability of the true caption among some captions drawn."""

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
class SampledNegatives:
    """The mean over captions of -log P(D | Q), with the caption D, its image Q and captions D' of other images.

        P(D | Q) = exp(γ R(Q, D)) / Σ_{D' in D and the drawn captions} exp(γ R(Q, D'))

    Source: Fang et al. 2015 (arXiv:1411.4952), as remembered; it was not checked against the paper's text. Unlike
    `Contrastive`, it is one-sided: no caption chooses among images.

    Negatives are drawn anew for each caption at each step, without repetition, from the captions of other images of the
    process's own batch. If there are fewer, all are taken. A batch of one image has none, and its loss is 0.

    Args:
        eos: the id of `<eos>`.
        gamma: γ, for scores such as cosines that lie in a fixed range.
        num_negatives: how many captions are drawn.

    Raises:
        InputError: γ is not positive, or `num_negatives` is below 1.
    """

    trains: ClassVar[type[nn.Module]] = Matcher
    eos: int
    gamma: float = 10.0
    num_negatives: int = 50

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise InputError(f"gamma={self.gamma} must be positive")
        if self.num_negatives < 1:
            raise InputError(f"num_negatives={self.num_negatives} must be at least 1")

    def __call__(self, matcher: Matcher, features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        return self.means(matcher, features, batch)[0].value

    def means(self, matcher: Matcher, features: ImageFeatures, batch: CaptionBatch) -> tuple[Mean]:
        """Compute the mean over captions."""
        pairs = score_pairs(matcher, features, batch, eos=self.eos)
        own, n = pairs.own_captions, torch.arange(len(pairs.index), device=pairs.index.device)
        drawn = draw(~own, self.num_negatives)
        scores = (self.gamma * pairs.captions).masked_fill(~drawn & (n[:, None] != n), -torch.inf)
        return (Mean(F.cross_entropy(scores, n), len(n)),)


def draw(allowed: Tensor, count: int) -> Tensor:
    """Draw up to `count` of the allowed columns of each row at random, without repetition.

    Args:
        allowed: (N, N) bool.
        count: from 1.

    Returns:
        (N, N) bool, True for what is drawn.
    """
    keys = torch.rand(allowed.shape, device=allowed.device).masked_fill(~allowed, -1.0)
    highest = keys.topk(min(count, keys.shape[1]), dim=1).indices
    return torch.zeros_like(allowed).scatter(1, highest, value=True) & allowed
