"""Cross-entropy of captions and of annotated objects, for encoders trained from scratch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.decoders.attention import in_float
from captioning.decoders.decoder import Capability, Decoder, packed_rows
from captioning.encoders.features import ImageFeatures, Objects
from captioning.errors import InputError
from captioning.objectives.averages import Mean, total
from captioning.objectives.cross_entropy import CrossEntropy

_PADDING = -1


class CaptionAndObjects(nn.Module):
    """Cross-entropy of the captions, plus that of the object in each grid cell, plus that of the words in the captions.

    An encoder from scratch hardly learns from a decoder that reads the image once, because the decoder learns first
    to predict words from words. Pretrained encoders have learned from labels before. With this objective, the encoder
    learns from annotated objects while the decoder learns from captions. The grid predicts the category in each cell,
    so a shape is learned once for all cells. The pooled feature predicts the words of the captions, so what is learned
    reaches the feature that the decoder reads:

        c_j ~ softmax(V grid_j + u), over the categories and "nothing"         q_w = σ(a_w · pooled + b_w)
        loss + objects · mean_j -log p(c_j) + words / I · Σ_images Σ_w BCE(q_w, w is in a caption)

    Cell j shows the smallest object whose box contains the cell's centre, or whose box has its centre in the cell. Both
    heads are used in training only and are not part of a bundle. Word detectors beside captions: Fang et al. 2015
    (arXiv:1411.4952).

    Args:
        feature_size: F.
        vocab_size: V.
        categories: the objects' names, in the order of their ids.
        objects: the weight of the loss of the cells.
        words: the weight of the loss of the words.
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.OBJECTS})

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
        """Compute the loss of a batch, a scalar.

        Raises:
            InputError: the features have no square grid, or no objects.
        """
        return total(self.means(decoder, features, batch))

    def means(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> tuple[Mean, Mean, Mean]:
        """Compute the means over tokens, over cells and over images; see `forward`."""
        if features.grid is None or features.objects is None:
            raise InputError(
                "caption_and_objects learns the object in each grid cell; set encoder.grid=true and data.objects=true"
            )
        grid, cells = features.grid, objects_in_cells(features.objects, features.grid.shape[1])
        if features.mask is not None:  # padding has no object and is not counted
            grid = grid.masked_fill(~features.mask[..., None], 0.0)
            cells = cells.masked_fill(~features.mask, _PADDING)
        shown = in_float(self.place(grid)).transpose(1, 2)  # (I, categories, R)
        objects = F.cross_entropy(shown, cells, ignore_index=_PADDING)
        predicted = in_float(self.word(features.pooled))
        targets = batch.targets()
        present = torch.zeros_like(predicted)
        present[batch.image_index[packed_rows(targets)], targets.data] = 1.0
        words = F.binary_cross_entropy_with_logits(predicted, present, reduction="sum") / len(present)
        captions = self.captions(decoder, features, batch)
        return (
            Mean(captions, len(targets.data)),
            Mean(self.objects_weight * objects, int((cells != _PADDING).sum())),
            Mean(self.words_weight * words, len(predicted)),
        )


def objects_in_cells(objects: Objects, num_cells: int) -> Tensor:
    """Compute 1 + the category of the smallest object that each grid cell shows, or 0; (I, R) int64.

    A cell shows an object whose box contains the cell's centre. It also shows one whose box has its centre in the
    cell; otherwise small objects would be in no cell.

    Args:
        objects: objects of I images.
        num_cells: R, the cells of a square grid that covers the image row by row.

    Raises:
        InputError: R is not a square number.
    """
    side = math.isqrt(num_cells)
    if side**2 != num_cells:
        raise InputError(f"{num_cells} grid cells do not form a square; use an encoder of square images")
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
