"""An encoder that also reads the mirror image, so that a decoder sees each image from two sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.grid_cells import GridCells
from captioning.errors import InputError


@final
class WithMirrored(Encoder):
    """Computes the features of an image and of its mirror image, in which left is right, by one encoder.

    Pooled features, words and layers are the means of both. The grid has the cells of both, 2R, so that attention
    chooses among them. The weights of the other encoder stay as they are, and so do those of the decoder.

    Args:
        encoder: reads images.

    Attributes:
        feature_sizes: F of each encoder, if it is of several.

    Raises:
        InputError: the encoder does not read images, or each of its grid cells counts as an image.
    """

    def __init__(self, *, encoder: Encoder) -> None:
        if encoder.reads != "images":
            raise InputError(f"{type(encoder).__name__} reads {encoder.reads}; only images have a mirror image")
        if isinstance(encoder, (WithMirrored, GridCells)):
            raise InputError(f"{encoder.model_name}: expected an encoder of whole images that are not mirrored already")
        super().__init__(f"{encoder.model_name}, mirrored too"[:200], grid=encoder.grid)
        self.encoder, self.transform, self.feature_size = encoder, encoder.transform, encoder.feature_size
        self.feature_sizes: tuple[int, ...] = getattr(encoder, "feature_sizes", (encoder.feature_size,))

    def unmirrored(self, weights: Tensor, columns: int) -> Tensor:
        """Add the weights of the mirror image's cells, (.., 2R), to those of the cells of the same place, (.., R)."""
        own, mirrored = weights.chunk(2, dim=-1)
        return own + mirrored.reshape(*own.shape[:-1], -1, columns).flip(-1).reshape(own.shape)

    def forward(self, images: Tensor) -> ImageFeatures:
        """Return pooled (I, F), and with a grid (I, 2R, F): the cells of each image, then those of its mirror image."""
        return _together(self.encoder(images), self.encoder(images.flip(3)))


def _together(own: ImageFeatures, mirrored: ImageFeatures) -> ImageFeatures:
    def join(name: str, how: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
        return None if getattr(own, name) is None else how(getattr(own, name), getattr(mirrored, name))

    return replace(
        own,
        pooled=_mean(own.pooled, mirrored.pooled),
        grid=join("grid", _side_by_side),
        mask=join("mask", _side_by_side),
        words=join("words", _mean),
        layers=join("layers", _mean),
        others=tuple(_together(*pair) for pair in zip(own.others, mirrored.others, strict=True)),
    )


def _mean(own: Tensor, mirrored: Tensor) -> Tensor:
    return (own + mirrored) / 2


def _side_by_side(own: Tensor, mirrored: Tensor) -> Tensor:
    return torch.cat([own, mirrored], dim=1)
