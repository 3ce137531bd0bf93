"""Encoders that carry a word detector, so that decoders read the words that it finds in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from captioning.encoders.detectors.detector import WordDetector
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.encoders.weights import load_weights, read_weights, require_finite
from captioning.errors import InputError


class WithDetector(Encoder):
    """An encoder and a word detector that reads its features.

    In a configuration only `weights` is given. The other parts are read from the bundle; see
    `captioning.training.detected.detector_of`.

    Args:
        encoder: computes the features of images.
        word_detector: finds words in these features.
        words: the detector's W words, in its order.
        standardise: the deviation to which the features are scaled for the detector; false or null for no scaling.
        weights: the folder of the word detector's bundle, with the weights of all three; None for random weights.
        grid: whether `forward` returns the grid too.

    Attributes:
        words: the detector's words.

    Raises:
        InputError: the encoder does not read images, the detector has another number of words, or the weights cannot be
            read or are of another model.
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        word_detector: WordDetector,
        words: Sequence[str],
        standardise: bool | float | None = None,
        weights: str | None = None,
        grid: bool = False,
    ) -> None:
        if encoder.reads != "images":
            raise InputError(
                f"{type(encoder).__name__} reads {encoder.reads}, and words are found in images; choose a word "
                "detector that was trained on images"
            )
        if len(words) != word_detector.vocab_size:
            raise InputError(f"found {len(words)} words and a detector of {word_detector.vocab_size}, expected as many")
        super().__init__(f"{encoder.model_name} with {type(word_detector).__name__}", grid=grid)
        self.transform = encoder.transform
        self.encoder, self.detector = encoder, word_detector
        self.standardise: nn.Module = (
            Standardise(encoder.feature_size, deviation=float(standardise)) if standardise else nn.Identity()
        )
        self.feature_size, self.words = encoder.feature_size, tuple(words)
        if weights is not None:
            self._load(Path(weights) / "model.safetensors")

    def _load(self, file: Path) -> None:
        own = {name.partition(".")[0] for name in self.state_dict()}
        weights = {name: value for name, value in read_weights(file).items() if name.partition(".")[0] in own}
        load_weights(self, weights, file)
        require_finite(self, file)

    def detect(self, images: Tensor) -> ImageFeatures:
        """Compute the features of the encoder, and the probability of each word; `images` as for `forward`."""
        features: ImageFeatures = self.encoder(images)
        return replace(features, words=self.detector(self.standardise(features)))
