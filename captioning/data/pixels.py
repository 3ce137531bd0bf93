"""From an image to an encoder's input: the one place where images become tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from captioning.data.images import load_image, to_rgb

ImageLike = Image.Image | str | Path


def pixels(image: ImageLike, transform: Callable[[Image.Image], Tensor]) -> Tensor:
    """Read an image and transform it.

    Args:
        image: a path, or a PIL image of any mode.
        transform: turns an upright RGB image into (C, H, W).

    Raises:
        InputError: the file is not an image. The message names it.
    """
    return transform(to_rgb(image) if isinstance(image, Image.Image) else load_image(image))


def channels_last(images: Sequence[Tensor]) -> Tensor:
    """Stack images (C, H, W) into (I, C, H, W) in channels-last memory format, which makes convolutions faster."""
    return torch.stack(list(images)).contiguous(memory_format=torch.channels_last)
