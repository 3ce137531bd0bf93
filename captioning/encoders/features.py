"""What an encoder hands to a decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageFeatures:
    """Features of I images: one vector for the whole picture, and optionally one for each place of it.

    Attributes:
        pooled: (I, F) float, the whole image.
        grid: (I, R, F) float, grid cells (row by row, from the top left) or regions; None if not extracted.
        mask: (I, R) bool, True where a region is real; None when all are.
    """

    pooled: Tensor
    grid: Tensor | None = None
    mask: Tensor | None = None

    def __len__(self) -> int:
        return self.pooled.shape[0]

    def rows(self, index: Tensor) -> ImageFeatures:
        """Pick (or repeat) images by `index`, an int64 tensor of any length."""
        return self._map(lambda x: x.index_select(0, index))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ImageFeatures:
        """Move every tensor to `device`."""
        return self._map(lambda x: x.to(device, non_blocking=non_blocking))

    def _map(self, change: Callable[[Tensor], Tensor]) -> ImageFeatures:
        grid, mask = (None if x is None else change(x) for x in (self.grid, self.mask))
        return ImageFeatures(change(self.pooled), grid, mask)
