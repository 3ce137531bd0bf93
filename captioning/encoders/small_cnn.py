"""A small network for generated scenes, quick to train from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.surgery import to_grid
from captioning.encoders.transform import ImageTransform
from captioning.encoders.weights import load_weights, read_weights
from captioning.errors import InputError

GROUPS = 8


class SmallCNN(Encoder):
    """Strided convolutions that see where they are, for pictures of a few coloured shapes.

    Each block halves the picture: convolution 3 x 3 with stride 2, group normalisation (Wu and He 2018: a
    picture's features do not depend on its neighbours in the batch, in training either), ReLU. Two channels
    beside the colours hold each pixel's column and row (CoordConv, Liu et al. 2018). Pooled features are a
    linear layer over the whole last map, not its average, so that they keep what stands where.

    Args:
        feature_size: F.
        size: height and width of its pictures, in pixels.
        channels: of each block, multiples of 8; as many blocks as there are.
        grid: give the grid too: the last map, projected to F channels.
        weights: a local file, or None for random ones.

    Raises:
        InputError: a size is not possible, or the file does not fit.
    """

    def __init__(
        self,
        feature_size: int = 256,
        size: Sequence[int] = (96, 96),
        *,
        channels: Sequence[int] = (16, 32, 64, 128),
        grid: bool = False,
        weights: str | None = None,
    ) -> None:
        half = (0.5, 0.5, 0.5)
        transform = ImageTransform(size=cast("tuple[int, int]", tuple(size)), mean=half, std=half, mode="squash")
        super().__init__("small_cnn", grid=grid, transform=transform)
        if not channels or any(c < GROUPS or c % GROUPS for c in channels):
            raise InputError(f"small_cnn: channels={list(channels)}, expected multiples of {GROUPS}, at least one")
        self.feature_size = feature_size
        widths = [3 + 2, *channels]
        self.blocks = nn.Sequential(*(_block(*pair) for pair in pairwise(widths)))
        height, width = (-(-side // 2 ** len(channels)) for side in size)  # a stride of 2 rounds up
        self.pool = nn.Linear(channels[-1] * height * width, feature_size)
        self.project = nn.Conv2d(channels[-1], feature_size, kernel_size=1) if grid else None
        self.register_buffer("positions", _positions(*size), persistent=False)
        if weights is not None:
            load_weights(self, read_weights(weights), weights)

    positions: Tensor

    def forward(self, images: Tensor) -> ImageFeatures:
        """See `Encoder.forward`."""
        positions = self.positions.expand(len(images), -1, -1, -1)
        last = self.blocks(torch.cat([images, positions], dim=1))
        grid = None if self.project is None else to_grid(self.project(last).relu())
        return ImageFeatures(self.pool(last.flatten(1)).relu(), grid)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1, bias=False),
        nn.GroupNorm(GROUPS, out_channels),
        nn.ReLU(inplace=True),
    )


def _positions(height: int, width: int) -> Tensor:
    """Each pixel's column and row from -1 to 1, (2, H, W)."""
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
