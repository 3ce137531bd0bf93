"""Regions that a detector found, whose features come from files: no image is seen here."""

from __future__ import annotations

from torch import Tensor

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError


class Regions(Encoder):
    """The detector of bottom-up attention (Anderson et al. 2018), known by the features that it left.

    `captioning extract` reads them into a feature store, and models train and are evaluated on that. Pooled is the
    mean of an image's regions, the paper's v̄ (equation 2 reads it).

    Args:
        detector: a name for what made the features; stores of two names are not taken for one another.
        feature_size: F.
        num_regions: R, the most that an image may have; those with fewer are masked.

    Raises:
        InputError: a size is not possible.
    """

    reads = "features"

    def __init__(self, detector: str = "bottom_up", feature_size: int = 2048, num_regions: int = 100) -> None:
        if feature_size < 1 or num_regions < 1:
            raise InputError(f"regions: feature_size={feature_size}, num_regions={num_regions}, expected at least 1")
        half = (0.5, 0.5, 0.5)
        super().__init__(detector, grid=True, transform=ImageTransform((1, 1), mean=half, std=half, mode="squash"))
        self.feature_size, self.num_regions = feature_size, num_regions

    def forward(self, images: Tensor) -> ImageFeatures:
        """Refuse.

        Raises:
            InputError: always: the regions of an image are its detector's work.
        """
        raise InputError(
            f"this model reads the regions that a detector ({self.model_name}) found, and captioning has no detector: "
            "give features by data.features=DIR, made by `captioning extract encoder=regions regions=FILES`"
        )
