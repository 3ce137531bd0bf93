"""Maximum likelihood, and beside it what stands where: for encoders that start from nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import Decoder, packed_rows
from captioning.encoders.features import ImageFeatures, Objects
from captioning.errors import InputError
from captioning.objectives.cross_entropy import CrossEntropy


class CaptionAndObjects(nn.Module):
    """Cross-entropy of the captions, plus that of the object at each place, plus that of the words on the whole.

    An encoder that starts from nothing behind a decoder that sees the image once hardly learns: words explain words
    first. Encoders of photographs have learned from labels before; this one does so at the same time, from annotated
    objects: the grid tells the category of each place, where a shape is learned once for all places. And the pooled
    feature tells which words the captions use, so that what was learned arrives where the decoder reads it:

        c_j ~ softmax(V grid_j + u), over the categories and "nothing"         q_w = σ(a_w · pooled + b_w)
        loss + objects · mean_j -log p(c_j) + words / I · Σ_images Σ_w BCE(q_w, w stands in a caption)

    Place j shows the smallest object whose box holds its centre, or whose box's centre it holds. Both heads are of
    use in training only and no part of a bundle. Word detectors beside captions: Fang et al. 2015 (arXiv:1411.4952).

    Args:
        feature_size: F.
        vocab_size: V.
        categories: the objects' names, in the order of their ids.
        objects: weight of the places' loss.
        words: weight of the detectors' loss.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        categories: Sequence[str],
        objects: float = 1.0,
        words: float = 0.2,
    ) -> None:
        super().__init__()
        self.place = nn.Linear(feature_size, len(categories) + 1)
        self.word = nn.Linear(feature_size, vocab_size)
        self.objects_weight, self.words_weight, self.captions = objects, words, CrossEntropy()

    def forward(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """The loss of a batch, a scalar.

        Raises:
            InputError: the encoder gives no square grid, or the data no objects.
        """
        if features.grid is None or features.objects is None:
            raise InputError(
                "caption_and_objects learns the object at each place of a grid; set encoder.grid=true and "
                "data.objects=true"
            )
        shown = self.place(features.grid).float().transpose(1, 2)  # (I, categories, R)
        objects = F.cross_entropy(shown, objects_at_places(features.objects, shown.shape[2]))
        said = self.word(features.pooled).float()
        targets = batch.targets()
        present = torch.zeros_like(said)
        present[batch.image_index[packed_rows(targets)], targets.data] = 1.0
        words = F.binary_cross_entropy_with_logits(said, present, reduction="sum") / len(present)
        captions = self.captions(decoder, features, batch)
        return captions + self.objects_weight * objects + self.words_weight * words


def objects_at_places(objects: Objects, num_places: int) -> Tensor:
    """1 + the category of the smallest object that a place shows, or 0; (I, R) int64.

    It shows an object whose box holds its centre; and one whose box's centre it holds, lest small ones be nowhere.

    Args:
        objects: of I images.
        num_places: R, of a square grid that covers the image row by row.

    Raises:
        InputError: R is no square.
    """
    side = math.isqrt(num_places)
    if side**2 != num_places:
        raise InputError(f"{num_places} places are no square grid; use an encoder of square images")
    ticks = torch.arange(side, device=objects.boxes.device)
    row, column = (axis.flatten() for axis in torch.meshgrid(ticks, ticks, indexing="ij"))
    x, y = (column + 0.5) / side, (row + 0.5) / side
    left, top, width, height = objects.boxes[..., None, :].unbind(-1)  # (I, O, 1)
    in_box = (x >= left) & (x <= left + width) & (y >= top) & (y <= top + height)
    middle_column, middle_row = (
        (side * (start + length / 2)).long().clamp(max=side - 1) for start, length in ((left, width), (top, height))
    )
    shows = (in_box | ((column == middle_column) & (row == middle_row))) & objects.mask[..., None]
    area = (width * height).masked_fill(~shows, torch.inf)  # (I, O, R)
    return torch.where(shows.any(1), 1 + objects.categories.gather(1, area.argmin(1)), 0)
