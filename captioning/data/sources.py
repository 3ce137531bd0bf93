"""What an encoder reads of an example: its image, its sentence, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL.Image import Image
from torch import Tensor

from captioning.data.example import CaptionedImage
from captioning.data.pixels import channels_last, pixels
from captioning.encoders.encoder import Encoder
from captioning.encoders.text_transform import TextTransform
from captioning.errors import InputError


class Source(Protocol):
    """Makes an encoder's input from examples."""

    def __call__(self, images: Sequence[CaptionedImage]) -> Tensor:
        """Return the input of these examples, one row per example."""
        ...


class Images:
    """Reads image files as tensors.

    Args:
        transform: turns an RGB image into (C, H, W).
        keep: keep every transformed image in memory; only for transforms that are not random.
    """

    def __init__(self, transform: Callable[[Image], Tensor], *, keep: bool = False) -> None:
        self.transform = transform
        self._kept: dict[Path, Tensor] | None = {} if keep else None

    def __call__(self, images: Sequence[CaptionedImage]) -> Tensor:
        """Return (I, C, H, W)."""
        return channels_last([self._pixels(image.path) for image in images])

    def _pixels(self, path: Path) -> Tensor:
        if self._kept is None:
            return pixels(path, self.transform)
        if path not in self._kept:
            self._kept[path] = pixels(path, self.transform)
        return self._kept[path]


class Texts:
    """Tokenizes sentences.

    Args:
        transform: turns sentences into token ids.
    """

    def __init__(self, transform: TextTransform) -> None:
        self.transform = transform

    def __call__(self, images: Sequence[CaptionedImage]) -> Tensor:
        """Return token ids, (I, S) int64."""
        return self.transform([image.text or "" for image in images])


class Nothing:
    """Opens no file: for encoders that read nothing."""

    def __call__(self, images: Sequence[CaptionedImage]) -> Tensor:
        """Return zeros, (I, 1, 1, 1)."""
        return torch.zeros(len(images), 1, 1, 1)


def source_of(
    encoder: Encoder,
    transform: Callable[..., Tensor],
    images: Sequence[CaptionedImage],
    *,
    keep: bool = False,
) -> Source:
    """Choose what `encoder` reads of `images`.

    Args:
        encoder: the model's encoder.
        transform: the model's transform, or its random variant for training.
        images: a split.
        keep: see `Images`.

    Raises:
        InputError: the encoder reads sentences and the split has images, or the reverse.
    """
    texts = any(image.text is not None for image in images)
    if encoder.reads == "nothing":
        return Nothing()
    if (encoder.reads == "texts") != texts:
        raise InputError(
            f"the data set has {'sentences' if texts else 'images'}, and the encoder {encoder.model_name} reads "
            f"{encoder.reads}; choose {'encoder=text' if texts else 'an encoder of images'}, or other data"
        )
    return Texts(transform) if isinstance(transform, TextTransform) else Images(transform, keep=keep)
