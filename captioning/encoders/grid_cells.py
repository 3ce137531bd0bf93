"""The encoder of a captioner of regions, for which each grid cell of an image counts as an image of its own.

Source: Karpathy & Fei-Fei 2015 (arXiv:1412.2306), section 3.2: the generator of region descriptions reads CNN(I_b) of
one region b where the generator of captions reads that of the image.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

from torch import Tensor

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.weights import load_weights, read_weights, require_finite
from captioning.errors import InputError


@final
class GridCells(Encoder):
    """The encoder of an aligner, for a captioner of regions.

    The features are those of the aligner's encoder. The identity is another one, so that a feature store of regions,
    whose pooled rows are the vectors of single cells, is refused for a captioner of images, and the reverse. In a
    configuration only `weights` is given; the encoder is read from the bundle, see `captioning.training.encoder_parts`.

    Args:
        encoder: computes the features of images and of their grid cells.
        weights: the folder of the aligner's bundle; None for the weights that the encoder has.

    Raises:
        InputError: the encoder does not read images or has no grid, or the weights cannot be read or are of another
            model.
    """

    def __init__(self, *, encoder: Encoder, weights: str | None = None) -> None:
        if encoder.reads != "images" or not encoder.grid:
            raise InputError(
                f"{type(encoder).__name__} ({encoder.model_name}) has no grid cells of images; use an aligner that was "
                "trained with encoder.grid=true"
            )
        super().__init__(f"cells of {encoder.model_name}", grid=True)
        self.encoder, self.transform, self.feature_size = encoder, encoder.transform, encoder.feature_size
        if weights is not None:
            file = Path(weights) / "model.safetensors"
            load_weights(self, {k: v for k, v in read_weights(file).items() if k.startswith("encoder.")}, file)
            require_finite(self, file)

    def forward(self, images: Tensor) -> ImageFeatures:
        """See `Encoder.forward`."""
        features: ImageFeatures = self.encoder(images)
        return features
