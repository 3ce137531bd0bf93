"""A small CNN for generated scenes, quick to train from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.surgery import to_grid
from captioning.encoders.transform import ImageTransform
from captioning.encoders.weights import load_weights, read_weights, require_finite
from captioning.errors import InputError

MULTIPLE = 8
POOLED_CHANNELS, HEADS = 32, 8


class SmallCNN(Encoder):
    """Convolutions with coordinate channels, pooled by eight attention heads.

    Each block is a 3 x 3 convolution, batch normalisation (Ioffe and Szegedy 2015) and ReLU. The first block has
    stride 2. From the third block on, 2 x 2 max pooling comes before the convolution. Two input channels beside the
    colours hold each pixel's column and row (CoordConv, Liu et al. 2018).

    A grid cell's features are x_j = [block_n; mean of block_1; mean of the input] over cell j, so they hold its shape,
    colour and position. F is their width. Pooled features are a linear layer over three summaries of the grid,
    followed by layer normalisation (Ba et al. 2016):

        max_j x_j                               which features occur
        reduce(x)                               where they occur: the whole grid in 32 channels
        Σ_j α_kj x_j,  k = 1..8                 one object with its attributes
        α_k = softmax_j(q_k · x_j)

    The layer normalisation gives every image a vector of about the same length. So the features also hold the mean of
    the x_j, as `layers`, which tells unusual images apart.

    The third is attention with learned queries (Set Transformer, Lee et al. 2019). It reads all attributes of one
    object from one cell.

    Args:
        size: height and width of its images, in pixels.
        channels: output channels of each block, multiples of 8.
        grid: also return the grid.
        weights: a local file, or None for random weights.

    Raises:
        InputError: a size or a number of channels is out of range, or the file does not fit.
    """

    def __init__(
        self,
        size: Sequence[int] = (96, 96),
        *,
        channels: Sequence[int] = (16, 32, 64, 128),
        grid: bool = False,
        weights: str | None = None,
    ) -> None:
        half = (0.5, 0.5, 0.5)
        transform = ImageTransform(size=cast("tuple[int, int]", tuple(size)), mean=half, std=half, mode="squash")
        super().__init__("small_cnn", grid=grid, transform=transform)
        if not channels or any(c < MULTIPLE or c % MULTIPLE for c in channels):
            raise InputError(f"small_cnn: channels={list(channels)}, expected one or more multiples of {MULTIPLE}")
        blocks = [_block(number, *widths) for number, widths in enumerate(pairwise([3 + 2, *channels]))]
        self.blocks = nn.Sequential(*blocks)
        self.feature_size = channels[-1] + channels[0] + 3 + 2
        halvings = max(1, len(channels) - 1)
        height, width = (-(-side // 2**halvings) for side in size)  # halving rounds up
        self.reduce = nn.Conv2d(self.feature_size, POOLED_CHANNELS, kernel_size=1)
        self.query = nn.Conv2d(self.feature_size, HEADS, kernel_size=1)
        summary_size = self.feature_size + POOLED_CHANNELS * height * width + HEADS * self.feature_size
        self.pool = nn.Linear(summary_size, self.feature_size)
        self.norm = nn.LayerNorm(self.feature_size)
        self.register_buffer("positions", _positions(*size), persistent=False)
        if weights is not None:
            load_weights(self, read_weights(weights), weights)
            require_finite(self, weights)

    positions: Tensor

    def forward(self, images: Tensor) -> ImageFeatures:
        """See `Encoder.forward`."""
        inputs = torch.cat([images, self.positions.expand(images.shape[0], -1, -1, -1)], dim=1)
        first = self.blocks[0](inputs)
        last = self.blocks[1:](first)
        means = [F.adaptive_avg_pool2d(below, last.shape[2:]).to(last.dtype) for below in (first, inputs)]
        x = torch.cat([last, *means], dim=1)
        summaries = torch.cat([x.amax((2, 3)), self.reduce(x).flatten(1), self._heads(x)], dim=1)
        pooled = self.norm(self.pool(summaries))
        return ImageFeatures(pooled, to_grid(x) if self.grid else None, layers=x.mean((2, 3)))

    def _heads(self, x: Tensor) -> Tensor:
        alpha = self.query(x).flatten(2).float().softmax(2)  # (I, heads, R)
        return torch.bmm(alpha.to(x.dtype), x.flatten(2).transpose(1, 2)).flatten(1)


def _block(number: int, in_channels: int, out_channels: int) -> nn.Sequential:
    stride = 2 if number == 0 else 1
    return nn.Sequential(
        nn.MaxPool2d(2, ceil_mode=True) if number >= 2 else nn.Identity(),
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _positions(height: int, width: int) -> Tensor:
    """Return each pixel's column and row, scaled to [-1, 1], as (2, H, W)."""
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
