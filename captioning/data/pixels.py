"""From an image to an encoder's input: the one place where images become tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from captioning.data.images import load_image, read_image, to_rgb
from captioning.errors import InputError

ImageLike = Image.Image | str | PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | NDArray[np.uint8] | Tensor
"""A path, a PIL image, the bytes of an image file, an open binary file, an array (H, W, 3) or (H, W) of uint8, or a
tensor (3, H, W) of uint8."""


def pixels(image: ImageLike, transform: Callable[[Image.Image], Tensor], *, name: str = "the image") -> Tensor:
    """Read an image and transform it.

    Args:
        image: a path; a PIL image of any mode; the bytes of an image file, or an open binary file, with the formats
            and limits of files; a numpy array (H, W, 3) of RGB or (H, W) of grey values, or a torch tensor (3, H, W),
            of uint8 both.
        transform: turns an upright RGB image into (C, H, W).
        name: what messages call an image that has no path, such as "images[2]".

    Raises:
        InputError: the image cannot be read, or is nothing of these. The message names it.
    """
    return transform(_rgb(image, name))


def _rgb(image: Any, name: str) -> Image.Image:
    """Read an image as upright RGB."""
    if isinstance(image, (str, PathLike)):
        return load_image(Path(image))
    if isinstance(image, Image.Image):
        return _named(to_rgb, image, name)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return read_image(bytes(image), name)
    if isinstance(image, np.ndarray):
        return _from_array(image, name)
    if isinstance(image, Tensor):
        return _from_tensor(image, name)
    if callable(getattr(image, "read", None)):
        return read_image(image, name)
    raise InputError(
        f"{name} is a {type(image).__name__}, expected a path, a PIL image, bytes, an open binary file, a numpy array "
        "or a torch tensor; put several images in a list"
    )


def _named(read: Callable[[Image.Image], Image.Image], image: Image.Image, name: str) -> Image.Image:
    try:
        return read(image)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _from_array(image: NDArray[Any], name: str) -> Image.Image:
    kind = f"{name} is a numpy array {image.dtype} {image.shape}"
    if image.dtype != np.uint8:
        raise InputError(f"{kind}, expected uint8 in 0..255; for floats in 0..1: (255 * image).round().astype('uint8')")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or not image.size:
        advice = "image.transpose(1, 2, 0)" if image.ndim == 3 and image.shape[0] == 3 else "a list for several images"
        raise InputError(f"{kind}, expected (H, W, 3) or (H, W), none of them 0; give {advice}")
    return Image.fromarray(np.ascontiguousarray(image)).convert("RGB")


def _from_tensor(image: Tensor, name: str) -> Image.Image:
    kind = f"{name} is a torch tensor {str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"
    if image.dtype != torch.uint8:
        raise InputError(f"{kind}, expected uint8 in 0..255; for floats in 0..1: (255 * image).round().byte()")
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
        advice = "image.permute(2, 0, 1)" if image.ndim == 3 and image.shape[2] == 3 else "a list for several images"
        raise InputError(f"{kind}, expected (3, H, W), none of them 0; give {advice}")
    return Image.fromarray(image.cpu().permute(1, 2, 0).contiguous().numpy())


def channels_last(images: Sequence[Tensor]) -> Tensor:
    """Stack images (C, H, W) into (I, C, H, W) in channels-last memory format, which makes convolutions faster."""
    return torch.stack(list(images)).contiguous(memory_format=torch.channels_last)
