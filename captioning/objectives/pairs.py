"""The scores of a batch's images and captions, and which of them belong together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captioning.data.batch import CaptionBatch
from captioning.encoders.features import ImageFeatures
from captioning.matchers.matcher import Matcher


@dataclass(frozen=True)
class Pairs:
    """Every caption of a batch scored with every image of it. Each caption n and its own image k are a true pair.

    Attributes:
        images: S_in, (I, N): image i with caption n.
        own: (I, N) bool, True if caption n is one of image i. An image that is in a batch more than once owns its
            captions in each of its rows, so that a true pair is never a negative.
        index: k, (N,) int64, the row of each caption's own image.
    """

    images: Tensor
    own: Tensor
    index: Tensor

    @property
    def true(self) -> Tensor:
        """S_kn, (N,): each caption with its own image."""
        return self.images.gather(0, self.index[None])[0]

    @property
    def captions(self) -> Tensor:
        """S_kl, (N, N): in row n the image k of caption n, with every caption l."""
        return self.images[self.index]

    @property
    def own_captions(self) -> Tensor:
        """(N, N) bool, True if caption l is one of caption n's image."""
        return self.own[self.index]


def score_pairs(matcher: Matcher, features: ImageFeatures, batch: CaptionBatch, *, eos: int) -> Pairs:
    """Score every caption of a batch with every image of it.

    Args:
        matcher: the matcher.
        features: of the batch's I images.
        batch: I images and N captions.
        eos: the id of `<eos>`, which is no word.
    """
    similarity = matcher.similarity(matcher.images(features), matcher.sentences(*batch.words(eos)))
    row_of = {image: row for row, image in enumerate(batch.image_ids)}
    same = torch.tensor([row_of[image] for image in batch.image_ids], device=similarity.device)
    return Pairs(similarity, same[:, None] == same[batch.image_index], batch.image_index)
