"""How an image becomes an encoder's input, as plain values that travel with the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as F

from captioning.errors import InputError

MODES = ("crop", "squash")
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True)
class ImageTransform:
    """Resize, scale to [0, 1] and normalise.

    Attributes:
        size: height and width of the result, in pixels.
        resize_size: "crop" only: what the shorter side is resized to before the centre is cut out.
        interpolation: Pillow's filter; shrinking is antialiased.
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].
        mode: "crop", what published weights were evaluated with: the edges are lost; or "squash": the whole
            image is resized to `size`, whatever its proportions, and nothing is lost.

    Raises:
        InputError: a value is not possible; the message names it.
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
                raise InputError(f"image transform: {name}={getattr(self, name)!r}, expected {expected}")

        # Lists come from JSON and YAML.
        for name in ("size", "mean", "std"):
            value = getattr(self, name)
            require(isinstance(value, (tuple, list)), name, "a list of numbers")
            object.__setattr__(self, name, tuple(value))
        sizes = all(_is_size(side) for side in self.size)
        require(len(self.size) == 2 and sizes, "size", "[height, width], whole numbers above 0")
        require(len(self.mean) == 3 and all(map(_is_number, self.mean)), "mean", "three numbers")
        positive = all(_is_number(s) and s > 0 for s in self.std)
        require(len(self.std) == 3 and positive, "std", "three numbers above 0")
        require(self.interpolation in INTERPOLATIONS, "interpolation", f"one of {', '.join(INTERPOLATIONS)}")
        require(self.mode in MODES, "mode", " or ".join(MODES))
        if self.mode == "squash":
            require(self.resize_size is None, "resize_size", "null with mode='squash'")
        else:
            require(_is_size(self.resize_size), "resize_size", "a whole number above 0 with mode='crop'")

    def __call__(self, image: Image) -> Tensor:
        """Turn an RGB image of any size into (C, H, W) float32."""
        filter_ = InterpolationMode(self.interpolation)
        if self.mode == "squash":
            image = F.resize(image, list(self.size), interpolation=filter_)
        else:
            image = F.resize(image, [cast(int, self.resize_size)], interpolation=filter_)
            image = F.center_crop(image, list(self.size))
        pixels = F.convert_image_dtype(F.pil_to_tensor(image), torch.float32)
        return cast(Tensor, F.normalize(pixels, list(self.mean), list(self.std), inplace=True))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: `from_dict` of it, or of what JSON makes of it, is equal to this."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageTransform:
        """Make a transform from what `to_dict` gave.

        Raises:
            InputError: a key is missing or unknown, or a value is not possible.
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
        """Make the random variant that training images may go through, of the same size and scale.

        Its defaults keep what captions speak of: most of the image, its sides, its colours.

        Args:
            scale: least and greatest share of the image's area that a random crop keeps, in (0, 1].
            ratio: least and greatest width over height of that crop.
            horizontal_flip: probability of mirroring. Captions say "left" and "right", so 0 unless asked for.
            brightness: factor drawn from 1 - brightness to 1 + brightness.
            contrast: as brightness.
            saturation: as brightness.
            hue: shift drawn from -hue to hue, at most 0.5, half the colour circle. Captions name colours.

        Returns:
            A picklable callable like this one; it draws from torch's global generator.

        Raises:
            InputError: an argument is out of its range.
        """
        low, high = scale
        if not 0 < low <= high <= 1:
            raise InputError(f"augmentation: scale={scale}, expected 0 < least <= greatest <= 1")
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


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
