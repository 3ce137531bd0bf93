"""An encoder that ignores the image, for language models and control experiments."""

from __future__ import annotations

from torch import Tensor

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.transform import ImageTransform


class Blind(Encoder):
    """Encode every image as a single 0.

    It serves as a control in experiments, and as the encoder of models that read no image.
    """

    reads = "nothing"
    feature_size = 1

    def __init__(self) -> None:
        half = (0.5, 0.5, 0.5)
        transform = ImageTransform(size=(1, 1), mean=half, std=half, mode="squash")
        super().__init__("blind", grid=False, transform=transform)

    def forward(self, images: Tensor) -> ImageFeatures:
        """See `Encoder.forward`."""
        return ImageFeatures(images.new_zeros(images.shape[0], self.feature_size))
