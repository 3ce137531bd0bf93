"""Standardisation of image features: mean 0 and a fixed standard deviation for each channel."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

log = logging.getLogger(__name__)


class Standardise(nn.Module):
    """Compute deviation · (x - mean) / std for every channel, with statistics of the training split.

    Pooled and grid features have separate statistics, because a mean over grid cells varies less than a cell does.
    Before `fit` it is the identity. The statistics are saved in the state dict and are not trained. If the encoder is
    fine-tuned, they stay those of its published weights.

    The deviation sets how far one step of Adam moves the output of a linear layer over the F channels. Each weight
    moves by the learning rate, so the output moves by up to F · deviation times the learning rate.

    Args:
        feature_size: F.
        deviation: standard deviation of every channel of the output.
    """

    mean: Tensor
    std: Tensor
    grid_mean: Tensor
    grid_std: Tensor

    def __init__(self, feature_size: int, *, deviation: float = 1.0) -> None:
        super().__init__()
        self.deviation = deviation
        for name, value in (("mean", 0.0), ("std", 1.0), ("grid_mean", 0.0), ("grid_std", 1.0)):
            self.register_buffer(name, torch.full((feature_size,), value))

    def forward(self, features: ImageFeatures) -> ImageFeatures:
        """Scale pooled (I, F) and, if there is one, grid (I, R, F)."""
        pooled = (features.pooled - self.mean) / (self.std / self.deviation)
        grid = None if features.grid is None else (features.grid - self.grid_mean) / (self.grid_std / self.deviation)
        return replace(features, pooled=pooled, grid=grid)

    @torch.no_grad()
    def fit(self, batches: Iterable[ImageFeatures]) -> None:
        """Compute the statistics over all images of `batches`, in one pass. Masked regions do not count.

        Standard deviations are those of the population. A constant channel gets std 1; the log counts such channels.

        Raises:
            InputError: there are no images, or a feature is not finite.
        """
        pooled, grid = _Moments(self.mean), _Moments(self.grid_mean)
        for features in batches:
            pooled.update(features.pooled)
            if features.grid is not None:
                grid.update(features.grid.flatten(0, 1) if features.mask is None else features.grid[features.mask])
        if not pooled.count:
            raise InputError("cannot standardise features: the training split has no images")
        self.mean.copy_(pooled.mean)
        self.std.copy_(pooled.deviation("pooled"))
        if grid.count:
            self.grid_mean.copy_(grid.mean)
            self.grid_std.copy_(grid.deviation("grid"))


class _Moments:
    """Mean and variance of rows, updated batch by batch in float64 (Chan, Golub and LeVeque 1983, eq. 2.1)."""

    def __init__(self, like: Tensor) -> None:
        self.count = 0
        self.mean = torch.zeros_like(like, dtype=torch.float64)
        self.squares = torch.zeros_like(self.mean)  # sum of squared differences from the mean

    def update(self, rows: Tensor) -> None:
        if not len(rows):
            return
        rows = rows.to(self.mean)
        if not rows.isfinite().all():
            raise InputError(
                f"cannot standardise features: {int((~rows.isfinite()).any(1).sum())} of {len(rows)} rows "
                "of a batch are not finite; check the encoder's weights or its feature store"
            )
        count = self.count + len(rows)
        mean = rows.mean(0)
        difference = mean - self.mean
        self.squares += (rows - mean).square().sum(0) + difference.square() * (self.count * len(rows) / count)
        self.mean += difference * (len(rows) / count)
        self.count = count

    def deviation(self, what: str) -> Tensor:
        deviation = (self.squares / self.count).sqrt()
        # Rounding gives a constant channel a small deviation: a float32 ulp is about 1e-7 of the value.
        constant = deviation <= 1e-7 * self.mean.abs()
        if constant.any():
            log.warning("%d of %d %s channels are constant", int(constant.sum()), len(constant), what)
        return deviation.masked_fill(constant, 1.0)
