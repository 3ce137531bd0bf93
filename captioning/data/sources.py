"""What an encoder reads of an example: its image, its sentence, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL.Image import Image
from torch import Tensor

from captioning.data.example import CaptionedImage
from captioning.data.images import load_image
from captioning.encoders.encoder import Encoder
from captioning.encoders.text_transform import TextTransform
from captioning.errors import InputError


class Source(Protocol):
    """Makes an encoder's input of examples."""

    def __call__(self, images: Sequence[CaptionedImage]) -> Tensor:
        """The input of these examples, the first dimension theirs."""
        ...


class Pictures:
    """Opens images.

    Args:
        transform: makes an image (C, H, W).
        keep: keep every image in memory; of use where `transform` always makes the same of one.
    """

    def __init__(self, transform: Callable[[Image], Tensor], *, keep: bool = False) -> None:
        self.transform = transform
        self._kept: dict[Path, Tensor] | None = {} if keep else None

    def __call__(self, images: Sequence[CaptionedImage]) -> Tensor:
        """(I, C, H, W)."""
        pictures = torch.stack([self._picture(image.path) for image in images])
        return pictures.contiguous(memory_format=torch.channels_last)  # convolutions are faster so

    def _picture(self, path: Path) -> Tensor:
        if self._kept is None:
            return self.transform(load_image(path))
        if path not in self._kept:
            self._kept[path] = self.transform(load_image(path))
        return self._kept[path]


class Texts:
    """Cuts sentences into tokens.

    Args:
        transform: makes ids of sentences.
    """

    def __init__(self, transform: TextTransform) -> None:
        self.transform = transform

    def __call__(self, images: Sequence[CaptionedImage]) -> Tensor:
        """(I, S) int64."""
        return self.transform([image.text or "" for image in images])


class Nothing:
    """Opens no file: for encoders that look at no pixel."""

    def __call__(self, images: Sequence[CaptionedImage]) -> Tensor:
        """(I, 1, 1, 1)."""
        return torch.zeros(len(images), 1, 1, 1)


def source_of(
    encoder: Encoder, images: Sequence[CaptionedImage], *, augmented: Callable[[Image], Tensor] | None, keep: bool
) -> Source:
    """What `encoder` reads of `images`.

    Args:
        encoder: of the model.
        images: a split.
        augmented: the random variant of the encoder's own transform, for training; None for that.
        keep: see `Pictures`.

    Raises:
        InputError: the encoder reads sentences and the split has images, or the other way round.
    """
    texts = any(image.text is not None for image in images)
    if encoder.reads == "nothing":
        return Nothing()
    if (encoder.reads == "texts") != texts:
        raise InputError(
            f"the data's examples are {'sentences' if texts else 'images'}, and the encoder {encoder.model_name} "
            f"reads {encoder.reads}; choose encoder={'text' if texts else 'a network for images'} (or encoder=none, "
            "which reads nothing), or other data"
        )
    if isinstance(encoder.transform, TextTransform):
        return Texts(encoder.transform)
    return Pictures(augmented or encoder.transform, keep=keep)
