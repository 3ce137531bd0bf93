"""An encoder whose vector of an image is its feature and the probabilities of the words found in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from captioning.encoders.detectors.detector import WordDetector
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.with_detector import WithDetector


@final
class ImageAndWords(WithDetector):
    """For every decoder that reads one vector of an image: [pooled ; words], whose width is F + W.

    Arguments, attributes and errors are those of `WithDetector`, without `grid`: cells have no words of their own.
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        word_detector: WordDetector,
        words: Sequence[str],
        standardise: bool | float | None = None,
        weights: str | None = None,
    ) -> None:
        super().__init__(
            encoder=encoder, word_detector=word_detector, words=words, standardise=standardise, weights=weights
        )
        self.feature_size = encoder.feature_size + len(self.words)

    def forward(self, images: Tensor) -> ImageFeatures:
        """Return pooled (I, F + W), in the dtype of the encoder's features."""
        features = self.detect(images)
        assert features.words is not None
        return ImageFeatures(torch.cat([features.pooled, features.words.to(features.pooled)], 1))
