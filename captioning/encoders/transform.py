"""Preprocessing of an encoder's images, as plain values that are saved with the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image, Resampling
from torch import Tensor

from captioning.errors import InputError

MODES = ("crop", "squash")
MAX_RATIO = 200
"""Of an image whose sides differ by a larger factor, mode "crop" resizes the middle part only."""
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")

LARGEST = 2048
"""The largest side of an image, in pixels. Published encoders read up to about 1,000."""


@dataclass(frozen=True)
class ImageTransform:
    """Resize, scale to [0, 1] and normalise.

    Attributes:
        size: height and width of the result, in pixels, up to 2,048 each.
        resize_size: length of the shorter side before the centre crop, in pixels, up to 2,048; None with mode "squash".
        interpolation: Pillow's filter; shrinking is antialiased.
        mean: mean of each channel, for values in [0, 1].
        std: standard deviation of each channel, for values in [0, 1].
        mode: "crop" keeps the centre and loses the edges, as published weights were evaluated; "squash" resizes the
            whole image to `size` and ignores its proportions.

    Raises:
        InputError: a value is out of range. The message names it.
    """

    size: tuple[int, int]
    resize_size: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    mode: str = "crop"

    def __post_init__(self) -> None:
        def require(holds: bool, name: str, expected: str) -> None:
            if not holds:
                raise InputError(f"image transform: {name}={repr(getattr(self, name))[:80]}, expected {expected}")

        # JSON and YAML provide lists.
        for name in ("size", "mean", "std"):
            value = getattr(self, name)
            require(isinstance(value, (tuple, list)), name, "a list of numbers")
            object.__setattr__(self, name, tuple(value))
        sizes = all(_is_size(side) for side in self.size)
        require(len(self.size) == 2 and sizes, "size", f"[height, width], whole numbers above 0, at most {LARGEST}")
        require(len(self.mean) == 3 and all(map(_is_number, self.mean)), "mean", "three numbers")
        positive = all(_is_number(s) and s > 0 for s in self.std)
        require(len(self.std) == 3 and positive, "std", "three numbers above 0")
        require(self.interpolation in INTERPOLATIONS, "interpolation", f"one of {', '.join(INTERPOLATIONS)}")
        require(self.mode in MODES, "mode", " or ".join(MODES))
        if self.mode == "squash":
            require(self.resize_size is None, "resize_size", "null with mode='squash'")
        else:
            expected = f"a whole number above 0 with mode='crop', at most {LARGEST}"
            require(_is_size(self.resize_size), "resize_size", expected)

    def __call__(self, image: Image) -> Tensor:
        """Turn an RGB image of any size into (C, H, W) float32, with torchvision's arithmetic bit for bit."""
        resampling, (height, width) = Resampling[self.interpolation.upper()], self.size
        if self.mode == "squash":
            image = image.resize((width, height), resampling)
        else:
            box = _middle(image.size)
            image = image if box == (0, 0, *image.size) else image.crop(box)
            image = image.resize(self._resized(image.size), resampling)
            left, top = _offset(image.width, width), _offset(image.height, height)
            image = image.crop((left, top, left + width, top + height))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32) / 255
        mean, std = (torch.tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (self.mean, self.std))
        return pixels.sub_(mean).div_(std)

    def points_in_image(self, points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
        """Map points of the result back to the image from which it was made.

        Args:
            points: (P, 2) x and y as fractions of the result's width and height.
            size: width and height of the image in pixels.

        Returns:
            (P, 2) x and y as fractions of the image's width and height; below 0 or above 1 in padding.
        """
        if self.mode == "squash":
            return points
        left, top, right, bottom = _middle(size)
        middle = (right - left, bottom - top)
        height, width = self.size
        resized = self._resized(middle)
        start = np.array([_offset(resized[0], width), _offset(resized[1], height)])
        in_middle = (start + points * (width, height)) / resized
        return np.asarray(((left, top) + in_middle * middle) / size)

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return width and height after resizing, before the centre crop."""
        resize_size, shorter = cast(int, self.resize_size), min(size)
        return resize_size * size[0] // shorter, resize_size * size[1] // shorter

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON types. `from_dict` restores an equal transform from them."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageTransform:
        """Create a transform from the values that `to_dict` returned.

        Raises:
            InputError: a key is missing or unknown, or a value is out of range.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise InputError(
                f"image transform: missing {sorted(names - set(values))}, "
                f"unknown {sorted(set(values) - names)}; expected exactly {sorted(names)}"
            )
        return cls(**values)

    def augmented(
        self,
        *,
        scale: tuple[float, float] = (0.5, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        horizontal_flip: float = 0.0,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.0,
    ) -> Callable[[Image], Tensor]:
        """Create a random variant of this transform for training, with the same size and normalisation.

        The defaults preserve what captions mention: most of the image, left and right, and colours.

        Args:
            scale: smallest and largest fraction of the image's area that a random crop keeps, in (0, 1].
            ratio: smallest and largest width divided by height of that crop.
            horizontal_flip: probability of mirroring. The default is 0, because captions say "left" and "right".
            brightness: the factor is drawn from 1 - brightness to 1 + brightness.
            contrast: same as brightness.
            saturation: same as brightness.
            hue: the shift is drawn from -hue to hue, at most 0.5, which is half the colour circle. The default is 0,
                because captions name colours.

        Returns:
            A picklable callable with the same interface. It draws from torch's global generator.

        Raises:
            InputError: an argument is out of range.
        """
        # torchvision takes a second to import, and inference does not need it.
        from torchvision.transforms import InterpolationMode, v2

        low, high = scale
        if not 0 < low <= high <= 1:
            raise InputError(f"augmentation: scale={scale}, expected 0 < smallest <= largest <= 1")
        try:
            steps = [
                v2.RandomResizedCrop(self.size, scale, ratio, InterpolationMode(self.interpolation)),
                v2.RandomHorizontalFlip(horizontal_flip),
                v2.ColorJitter(brightness, contrast, saturation, hue),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(list(self.mean), list(self.std), inplace=True),
            ]
        except (ValueError, TypeError) as error:
            raise InputError(f"augmentation: {error}") from error
        return cast("Callable[[Image], Tensor]", v2.Compose(steps))


def _middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of an image without the ends that mode "crop" does not resize.

    Ends are left out if the sides differ by more than MAX_RATIO: the resized form would be too large.
    """
    longest = MAX_RATIO * min(size)
    width, height = min(size[0], longest), min(size[1], longest)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def _offset(length: int, crop: int) -> int:
    """Return where a central crop of one side starts. It is negative where black padding is needed."""
    # torchvision rounds half to even when it crops, and puts the smaller half of the padding first.
    return round((length - crop) / 2) if length >= crop else -((crop - length) // 2)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST


def _is_number(value: object) -> bool:
    # Outside float32's range, 1e39 would become infinity and 1e-50 zero.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and (value == 0 or 1e-30 < abs(value) < 1e30)
