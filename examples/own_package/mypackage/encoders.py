"""An encoder without weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from captioning.encoders import ImageTransform
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures


class Colours(Encoder):
    """Encode an image as the mean colours of its cells.

    Args:
        size: height and width to which images are resized, in pixels.
        cells: the number of cells in a row and in a column.
        grid: also return the cells as regions.
    """

    def __init__(self, size: Sequence[int] = (32, 32), *, cells: int = 4, grid: bool = False) -> None:
        half = (0.5, 0.5, 0.5)
        height, width = size
        transform = ImageTransform(size=(height, width), mean=half, std=half, mode="squash")
        super().__init__(f"colours_{cells}", grid=grid, transform=transform)
        self.cells, self.feature_size = cells, 3 * cells**2

    def forward(self, images: Tensor) -> ImageFeatures:
        """See `Encoder.forward`."""
        means = F.adaptive_avg_pool2d(images, self.cells)  # (I, 3, cells, cells)
        pooled = means.flatten(1)
        return ImageFeatures(pooled, pooled[:, None] if self.grid else None)
