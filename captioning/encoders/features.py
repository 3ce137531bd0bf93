"""Image features: what an encoder passes to a decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Objects:
    """The annotated objects of I images, up to O each, in annotation order.

    Attributes:
        categories: (I, O) int64, category ids.
        boxes: (I, O, 4) float: left, top, width, height as fractions of the image.
        mask: (I, O) bool, True where there is an object.
    """

    categories: Tensor
    boxes: Tensor
    mask: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Objects:
        """Apply a function to every tensor."""
        return Objects(change(self.categories), change(self.boxes), change(self.mask))


@dataclass(frozen=True)
class ImageFeatures:
    """Features of I images: one vector for each image, and optionally one for each grid cell or region.

    Attributes:
        pooled: (I, F) float, one vector for each image.
        grid: (I, R, F) float, grid cells (row by row from the top left) or regions; None if not extracted.
        mask: (I, R) bool, True for real regions, False for padding; None if there is no padding.
        objects: the annotated objects; None if none were read.
        final: the state of a recurrent encoder after its last input, (I, L, D) each; None for other encoders.
        words: the probability of each of a word detector's W words, (I, W) float, in the detector's order; None if no
            words were detected.
        layers: (I, S) float, the mean over positions of each channel of some layers, by encoders whose vector hides how
            unusual an image is; None of other encoders. No decoder reads it. Stores of features do not have it.
        others: the features of the same images by the further encoders of an ensemble; empty for other models.
    """

    pooled: Tensor
    grid: Tensor | None = None
    mask: Tensor | None = None
    objects: Objects | None = None
    final: tuple[Tensor, ...] | None = None
    words: Tensor | None = None
    layers: Tensor | None = None
    others: tuple[ImageFeatures, ...] = ()

    def __len__(self) -> int:
        return self.pooled.shape[0]

    def rows(self, index: Tensor) -> ImageFeatures:
        """Select images by `index`, an int64 tensor of any length. Images may repeat."""
        return self._map(lambda x: x.index_select(0, index))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ImageFeatures:
        """Move every tensor to `device`."""
        return self._map(lambda x: x.to(device, non_blocking=non_blocking))

    def cast(self, dtype: torch.dtype) -> ImageFeatures:
        """Convert every tensor of floating-point numbers to `dtype`."""
        return self._map(lambda x: x.to(dtype) if x.is_floating_point() else x)

    def _map(self, change: Callable[[Tensor], Tensor]) -> ImageFeatures:
        grid, mask, words, layers = (
            None if x is None else change(x) for x in (self.grid, self.mask, self.words, self.layers)
        )
        objects = None if self.objects is None else self.objects.map(change)
        final = None if self.final is None else tuple(change(x) for x in self.final)
        others = tuple(other._map(change) for other in self.others)
        return ImageFeatures(change(self.pooled), grid, mask, objects, final, words, layers, others)
