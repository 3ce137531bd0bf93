"""Regions found by an object detector, whose features are read from files instead of computed."""

from __future__ import annotations

from torch import Tensor

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError


class Regions(Encoder):
    """Stand for the detector of bottom-up attention (Anderson et al. 2018), whose features are read from files.

    `captioning extract` copies them into a feature store, on which models are trained and evaluated. Pooled features
    are the mean over an image's regions, the paper's v̄ (used in equation 2).

    Args:
        detector: a name for the detector. A feature store of one detector is refused for another.
        feature_size: F.
        num_regions: R, the largest number of regions of an image. Missing regions are masked.

    Raises:
        InputError: `feature_size` or `num_regions` is below 1.
    """

    reads = "features"

    def __init__(self, detector: str = "bottom_up", feature_size: int = 2048, num_regions: int = 100) -> None:
        if feature_size < 1 or num_regions < 1:
            raise InputError(f"regions: feature_size={feature_size}, num_regions={num_regions}, expected at least 1")
        half = (0.5, 0.5, 0.5)
        super().__init__(detector, grid=True, transform=ImageTransform((1, 1), mean=half, std=half, mode="squash"))
        self.feature_size, self.num_regions = feature_size, num_regions

    def forward(self, images: Tensor) -> ImageFeatures:
        """Raise an error, because this package has no detector.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"this model needs regions from the detector {self.model_name}, and captioning has no detector; set "
            "data.features=DIR, a folder made by `captioning extract encoder=regions regions=FILES`"
        )
