"""What all models are: an encoder, a head that reads its features, and a tokenizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from captioning.data.batch import CaptionBatch
from captioning.data.pixels import ImageLike, channels_last, pixels
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.model.bundle import Parts, write_bundle
from captioning.model.caption import Caption
from captioning.model.confidences import Confidences
from captioning.model.golden import Golden, made_up_features, make_golden
from captioning.model.quantised import dequantised, quantised
from captioning.model.where import read_model
from captioning.modes import evaluating
from captioning.text.tokenizer import Tokenizer


class ImageModel(nn.Module, ABC):
    """A model of images, or of sentences if its encoder reads those.

    Args:
        encoder: maps images or sentences to features.
        tokenizer: tokenizer of the captions, or of the translations.
        transform: turns an image or a sentence into the encoder's input; None for the encoder's own.
        standardise: scales the features between encoder and head; None for no scaling.
        config: plain values from which `captioning.model.bundle` rebuilds the parts.

    Attributes:
        head_name: the attribute that holds the head, which is also its name in configurations and bundles.
        confidences: computes those of captions; None of a model that has none.

    Raises:
        InputError: `transform` is None and the encoder has none.
    """

    head_name: ClassVar[str]

    def __init__(
        self,
        encoder: Encoder,
        tokenizer: Tokenizer,
        *,
        transform: ImageTransform | TextTransform | None = None,
        standardise: Standardise | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        transform = transform or getattr(encoder, "transform", None)
        if transform is None:
            raise InputError(f"the encoder {encoder.model_name} has no transform of its own; give transform=")
        self.transform: ImageTransform | TextTransform = transform
        # Convolutions are faster if a pixel's channels are next to each other.
        self.encoder = encoder.to(memory_format=torch.channels_last)
        self.tokenizer, self.config = tokenizer, config
        self.confidences: Confidences | None = None
        self.standardise: nn.Module = standardise or nn.Identity()

    @property
    def head(self) -> nn.Module:
        """The part that reads the features."""
        return cast(nn.Module, getattr(self, self.head_name))

    @classmethod
    @abstractmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Put the parts of a bundle together, with the weights that they have."""

    @abstractmethod
    def decode_features(self, features: ImageFeatures) -> list[Caption]:
        """Say of each image, in one batch of features as the encoder returned them, what the model finds.

        Golden examples compare it.
        """

    @classmethod
    def from_pretrained(cls, path: str | Path, *, trust: Collection[str] = ()) -> Self:
        """Load a model in evaluation mode, on the CPU.

        Args:
            path: where the model is: a bundle, the folder of a run, or a run's checkpoint; see
                `captioning.model.where.locate`.
            trust: packages whose encoders, heads and searches the model may name, such as ["mypackage"]. Their
                code runs, so name only packages whose code you trust. Without them, no code but captioning's runs.

        Raises:
            InputError: there is no such model, it has another format version, or a file is missing or damaged. Or it
                needs a package that `trust` does not name.
        """
        parts, load = read_model(Path(path), trust=trust)
        if parts.head_name != cls.head_name:
            raise InputError(f"{path} holds a {parts.head_name}, expected a {cls.head_name}; {ADVICE[parts.head_name]}")
        return cls.with_weights(parts, load)

    @classmethod
    def with_weights(cls, parts: Parts, load: Callable[[nn.Module], None]) -> Self:
        """Put the parts of a model together with its weights, in evaluation mode.

        Raises:
            InputError: the weights are damaged or of another model.
        """
        model = cls.from_parts(parts)
        load(model)
        return model.eval()

    def save(
        self,
        path: str | Path,
        *,
        metrics: Mapping[str, Any] | None = None,
        examples: ImageFeatures | None = None,
        bits: Literal[32, 8] = 32,
    ) -> Path:
        """Write the model as a bundle. The folder appears whole or not at all.

        Args:
            path: the new folder; if it exists, it must be empty.
            metrics: content of the bundle's metrics.json and of its model card.
            examples: features of at least three images, as the encoder returned them. Three become the bundle's golden
                examples. None for features of random images or sentences.
            bits: of each weight in the file: 32, or 8 for a file of a quarter of the size and a model that differs
                slightly from this one; see `captioning.model.quantised`.

        Raises:
            InputError: the folder is not empty or cannot be written.
        """
        weights = self.state_dict()
        if bits == 8:
            weights = quantised(weights)
            rounded = deepcopy(self).float()
            rounded.load_state_dict(dequantised(weights, path))
        return write_bundle(
            Path(path),
            config=self.known_config,
            weights=weights,
            tokenizer=self.tokenizer.to_json(),
            transform=self.transform.to_dict(),
            metrics=metrics or {},
            golden=(rounded if bits == 8 else self)._golden(examples),
            confidences=self.confidences,
        )

    @torch.inference_mode()
    def _golden(self, features: ImageFeatures | None) -> Golden:
        if any(x.is_floating_point() and x.dtype != torch.float32 for x in self.state_dict().values()):
            return deepcopy(self).float()._golden(features)  # bundles hold float32
        if features is None:
            with evaluating(self):
                num_categories = len(getattr(self.head, "categories", ()))
                features = made_up_features(self.encoder, self.transform, num_categories, self.device)
        return make_golden(self.decode_features, features)

    @property
    def known_config(self) -> Mapping[str, Any]:
        """The plain values from which the model was built.

        Raises:
            ValueError: the model does not know them.
        """
        if self.config is None:
            raise ValueError("this captioner does not know the configuration from which it was built; give config=")
        return self.config

    @property
    def device(self) -> torch.device:
        """The device of the weights; the CPU for a model without any, such as one that ONNX Runtime computes."""
        return next((weight.device for weight in self.parameters()), torch.device("cpu"))

    @property
    def used_encoder(self) -> Encoder:
        """The encoder that computes features: `encoder`, or a faster copy of it."""
        return self.encoder

    def features(self, batch: CaptionBatch) -> ImageFeatures:
        """Return a batch's features for the head: those of `encoder_features`, standardised."""
        return self.read_by_head(self.encoder_features(batch))

    def read_by_head(self, features: ImageFeatures) -> ImageFeatures:
        """Standardise the encoder's features, and convert them to the dtype of the head."""
        features = self.standardise(features)
        dtype = next((weight.dtype for weight in self.head.parameters()), features.pooled.dtype)
        return features if features.pooled.dtype == dtype else features.cast(dtype)

    def encoder_features(self, batch: CaptionBatch) -> ImageFeatures:
        """Return a batch's cached features if it has any, else compute those of its images or sentences."""
        if batch.features is None:
            assert batch.images is not None
            features: ImageFeatures = self.used_encoder(self._cast(batch.images))
        else:
            features = batch.features.cast(self._dtype)
        return replace(features, objects=batch.objects)

    @property
    def _dtype(self) -> torch.dtype:
        return next((weight.dtype for weight in self.parameters()), torch.float32)

    def _cast(self, inputs: Tensor) -> Tensor:
        """Convert images to the dtype of the weights; ids of sentences stay integers."""
        return inputs.to(self._dtype) if inputs.is_floating_point() else inputs

    @property
    def image_transform(self) -> ImageTransform:
        """The transform of images.

        Raises:
            InputError: the model translates sentences.
        """
        if isinstance(self.transform, TextTransform):
            raise InputError("this model translates sentences and reads no images; use translate")
        return self.transform

    def pixels(self, images: Sequence[ImageLike], *, first: int = 0) -> Tensor:
        """Read images and transform them into the encoder's input, (I, C, H, W).

        Args:
            images: as for `captioning.data.pixels.pixels`.
            first: the number of the first one, by which messages name images that have no path: images[0].

        Raises:
            InputError: an image cannot be read (the message names it), or the model translates sentences.
        """
        transform = self.image_transform
        return channels_last([pixels(image, transform, name=f"images[{i}]") for i, image in enumerate(images, first)])

    @torch.inference_mode()
    def encode(self, inputs: Tensor) -> ImageFeatures:
        """Compute what the head reads, in evaluation mode.

        Args:
            inputs: images (I, C, H, W) as `pixels` gives them, or sentences (I, S) as the transform does.
        """
        with evaluating(self):
            return self.read_by_head(self.used_encoder(self._cast(inputs.to(self.device))))


ADVICE = {
    "decoder": "a captioner writes captions: use `captioning caption` and `Captioner`",
    "detector": "a word detector finds words: use `captioning concepts` and `ConceptDetector`",
    "matcher": "a matcher aligns sentences: use `captioning align` and `Aligner`",
}
"""What to use for a bundle, by the name of its head."""
