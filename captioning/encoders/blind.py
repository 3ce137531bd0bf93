"""An encoder that sees nothing, for models that read something else than pixels."""

from __future__ import annotations

from torch import Tensor

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.transform import ImageTransform


class Blind(Encoder):
    """Gives every image the feature 0: the control of an experiment, and the encoder of models without one."""

    reads = "nothing"
    feature_size = 1

    def __init__(self) -> None:
        half = (0.5, 0.5, 0.5)
        transform = ImageTransform(size=(1, 1), mean=half, std=half, mode="squash")
        super().__init__("blind", grid=False, transform=transform)

    def forward(self, images: Tensor) -> ImageFeatures:
        """See `Encoder.forward`."""
        return ImageFeatures(images.new_zeros(len(images), self.feature_size))
