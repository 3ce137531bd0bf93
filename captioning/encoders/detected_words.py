"""An encoder whose features are those of an image and, apart from them, the words found in it."""

from __future__ import annotations

from dataclasses import replace
from typing import final

from torch import Tensor

from captioning.encoders.features import ImageFeatures
from captioning.encoders.with_detector import WithDetector


@final
class DetectedWords(WithDetector):
    """For decoders that read words, such as `VisualConcepts` and `LstmA`: the words are apart from the image's vector.

    Arguments, attributes and errors are those of `WithDetector`.
    """

    def forward(self, images: Tensor) -> ImageFeatures:
        """Return what `Encoder.forward` says, and the probability of each word, (I, W) float32."""
        features = self.detect(images)
        return features if self.grid else replace(features, grid=None, mask=None)
