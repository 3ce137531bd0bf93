"""The ranking loss of matchers: a true pair scores higher than every pair that is not, by a margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from captioning.data.batch import CaptionBatch
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.matchers.matcher import Matcher
from captioning.objectives.averages import Mean
from captioning.objectives.pairs import Pairs, score_pairs


@dataclass(frozen=True)
class MaxMargin:
    """The mean over true pairs of what all other pairs lack to the margin, in both directions.

        C(θ) = Σ_k [ Σ_l max(0, S_kl - S_kk + margin) + Σ_l max(0, S_lk - S_kk + margin) ]                          (9)

    Source: Karpathy & Fei-Fei 2015 (arXiv:1412.2306). The first inner sum is over captions, the second over images.
    Differs: l = k, which adds 2 margins for each k, is left out, and so are other captions of image k, if a batch has
    several. The outer sum is a mean over captions.

    Negatives are of the process's own batch. A batch of one image has none, and its loss is 0.

    Args:
        eos: the id of `<eos>`.
        margin: the paper's is 1, for scores that are sums of products of any size. For cosines use about 0.2.

    Raises:
        InputError: the margin is not positive.
    """

    trains: ClassVar[type[nn.Module]] = Matcher
    eos: int
    margin: float = 1.0

    def __post_init__(self) -> None:
        check_margin(self.margin)

    def __call__(self, matcher: Matcher, features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        return self.means(matcher, features, batch)[0].value

    def means(self, matcher: Matcher, features: ImageFeatures, batch: CaptionBatch) -> tuple[Mean]:
        """Compute the mean over captions."""
        captions, images = violations(score_pairs(matcher, features, batch, eos=self.eos), self.margin)
        return (Mean((captions.sum() + images.sum()) / len(captions), len(captions)),)  # (9)


def check_margin(margin: float) -> None:
    """Check that a margin is positive; with 0, equal scores for all pairs would be the best.

    Raises:
        InputError: it is not.
    """
    if not margin > 0:
        raise InputError(f"margin={margin} must be positive")


def violations(pairs: Pairs, margin: float) -> tuple[Tensor, Tensor]:
    """Compute max(0, S - S_kn + margin) of every negative pair, and 0 for the others.

    Returns:
        (N, N), each caption's own image with the captions of other images, and (N, I), each caption with other images.
    """
    true = pairs.true[:, None]
    captions = (pairs.captions - true + margin).clamp(min=0).masked_fill(pairs.own_captions, 0)
    images = (pairs.images.t() - true + margin).clamp(min=0).masked_fill(pairs.own.t(), 0)
    return captions, images
