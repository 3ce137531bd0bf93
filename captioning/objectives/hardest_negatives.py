"""The ranking loss of matchers with the hardest negative alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from captioning.data.batch import CaptionBatch
from captioning.encoders.features import ImageFeatures
from captioning.matchers.matcher import Matcher
from captioning.objectives.averages import Mean
from captioning.objectives.max_margin import check_margin, violations
from captioning.objectives.pairs import score_pairs


@dataclass(frozen=True)
class HardestNegatives:
    """The mean over true pairs of what the best-scoring negative lacks to the margin, in both directions.

        1/N Σ_n [ max_l max(0, S_kl - S_kn + margin) + max_i max(0, S_in - S_kn + margin) ]

    Source: Faghri et al. 2018, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC
    (arXiv:1707.05612), as remembered; not checked against the paper's text. k is the image of caption n, l a caption
    of another image, and i another image.

    Negatives are of the process's own batch. A batch of one image has none, and its loss is 0.

    Args:
        eos: the id of `<eos>`.
        margin: see `MaxMargin`.

    Raises:
        InputError: the margin is not positive.
    """

    trains: ClassVar[type[nn.Module]] = Matcher
    eos: int
    margin: float = 0.2

    def __post_init__(self) -> None:
        check_margin(self.margin)

    def __call__(self, matcher: Matcher, features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        return self.means(matcher, features, batch)[0].value

    def means(self, matcher: Matcher, features: ImageFeatures, batch: CaptionBatch) -> tuple[Mean]:
        """Compute the mean over captions."""
        captions, images = violations(score_pairs(matcher, features, batch, eos=self.eos), self.margin)
        return (Mean((captions.max(1).values + images.max(1).values).mean(), len(captions)),)
