"""A captioner: an encoder, a decoder, a tokenizer and a search, made into one model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar, cast, overload

import torch
from PIL import Image
from torch import Tensor, nn

from captioning.data.batch import CaptionBatch
from captioning.data.pixels import ImageLike, channels_last, pixels
from captioning.decoders.decoder import Decoder
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.model.bundle import Parts, load_weights, read_bundle, write_bundle
from captioning.model.caption import Caption
from captioning.model.golden import Golden, made_up_features, make_golden
from captioning.search import BeamSearch
from captioning.search.hypotheses import Search
from captioning.text.tokenizer import Tokenizer

S = TypeVar("S")

ImageList = list[Any] | tuple[Any, ...]
"""A list or tuple of ImageLike; `list[ImageLike]` would refuse a list[str]."""
TextList = list[str] | tuple[str, ...]
"""A list or tuple of sentences; a single str is one sentence."""


class Captioner(nn.Module):
    """A neural image captioner, or a translator if its encoder reads sentences.

    Args:
        encoder: maps images or sentences to features.
        decoder: maps features and tokens to scores of the next token.
        tokenizer: tokenizer of the captions, or of the translations.
        transform: turns an image or a sentence into the encoder's input; None for the encoder's own.
        standardise: scales the features between encoder and decoder; None for no scaling.
        search: how captions are decoded.
        config: plain values from which `captioning.model.bundle` rebuilds encoder, decoder and search.

    Raises:
        InputError: `transform` is None and the encoder has none.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder[Any],
        tokenizer: Tokenizer,
        *,
        transform: ImageTransform | TextTransform | None = None,
        standardise: Standardise | None = None,
        search: Search | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        transform = transform or getattr(encoder, "transform", None)
        if transform is None:
            raise InputError(f"the encoder {encoder.model_name} has no transform of its own; give transform=")
        self.transform: ImageTransform | TextTransform = transform
        # Convolutions are faster if a pixel's channels are next to each other.
        self.encoder = encoder.to(memory_format=torch.channels_last)
        self.decoder, self.tokenizer = decoder, tokenizer
        self.standardise: nn.Module = standardise or nn.Identity()
        self.search, self.config = search or BeamSearch(), config

    @classmethod
    def from_pretrained(cls, path: str | Path, *, trust: Collection[str] = ()) -> Self:
        """Load a bundle in evaluation mode, on the CPU.

        Args:
            path: the bundle.
            trust: packages whose encoders, decoders and searches the bundle may name, such as ["mypackage"]. Their
                code runs, so name only packages whose code you trust. Without them, no code but captioning's runs.

        Raises:
            InputError: the folder is not a bundle, has another format version, or a file is missing or damaged. Or it
                needs a package that `trust` does not name.
        """
        captioner = cls.from_parts(read_bundle(Path(path), trust=trust))
        load_weights(captioner, Path(path))
        return captioner.eval()

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Put the parts of a bundle together, with the weights that they have."""
        return cls(
            parts.encoder,
            parts.decoder,
            parts.tokenizer,
            transform=parts.transform,
            standardise=parts.standardise,
            search=parts.search,
            config=parts.config,
        )

    def save(
        self, path: str | Path, *, metrics: Mapping[str, Any] | None = None, examples: ImageFeatures | None = None
    ) -> Path:
        """Write the model as a bundle. The folder appears whole or not at all.

        Args:
            path: the new folder; if it exists, it must be empty.
            metrics: content of the bundle's metrics.json and of its model card.
            examples: features of at least three images, as the encoder returned them. Three become the bundle's golden
                examples. None for features of random images or sentences.

        Raises:
            InputError: the folder is not empty or cannot be written.
        """
        if self.config is None:
            raise ValueError("this captioner does not know the configuration from which it was built; give config=")
        return write_bundle(
            Path(path),
            config=self.config,
            weights=self.state_dict(),
            tokenizer=self.tokenizer.to_json(),
            transform=self.transform.to_dict(),
            metrics=metrics or {},
            golden=self._golden(examples),
        )

    @torch.inference_mode()
    def _golden(self, features: ImageFeatures | None) -> Golden:
        if any(x.is_floating_point() and x.dtype != torch.float32 for x in self.state_dict().values()):
            return deepcopy(self).float()._golden(features)  # bundles hold float32
        if features is None:
            with evaluating(self):
                num_categories = len(getattr(self.decoder, "categories", ()))
                features = made_up_features(self.encoder, self.transform, num_categories, self.device)
        return make_golden(self.decode_features, features)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def features(self, batch: CaptionBatch) -> ImageFeatures:
        """Return a batch's features for the decoder: those of `encoder_features`, standardised."""
        return cast(ImageFeatures, self.standardise(self.encoder_features(batch)))

    def encoder_features(self, batch: CaptionBatch) -> ImageFeatures:
        """Return a batch's cached features if it has any, else compute those of its images or sentences."""
        if batch.features is None:
            assert batch.images is not None
            features: ImageFeatures = self.encoder(self._cast(batch.images))
        else:
            features = batch.features.cast(self._dtype)
        return replace(features, objects=batch.objects)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

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

    def pixels(self, images: Sequence[ImageLike]) -> Tensor:
        """Read images and transform them into the encoder's input, (I, C, H, W).

        Raises:
            InputError: a file is not an image (the message names it), or the model translates sentences.
        """
        return channels_last([pixels(image, self.image_transform) for image in images])

    @overload
    def caption(self, images: ImageLike, *, search: Search | None = ..., batch_size: int = ...) -> Caption: ...
    @overload
    def caption(self, images: ImageList, *, search: Search | None = ..., batch_size: int = ...) -> list[Caption]: ...
    def caption(
        self, images: ImageLike | ImageList, *, search: Search | None = None, batch_size: int = 32
    ) -> Caption | list[Caption]:
        """Caption images.

        Args:
            images: a PIL image, a path, or a list of them.
            search: replaces the model's own, such as `BeamSearch(beam_size=10)`.
            batch_size: images that are encoded and searched together.

        Returns:
            One caption for one image; for a list, captions in the same order.

        Raises:
            InputError: a file is not an image (the message names it), or the model translates sentences.
        """
        if isinstance(images, (Image.Image, str, Path)):
            return self.caption([images], search=search)[0]
        return [
            caption for part in _parts(images, batch_size) for caption in self.decode(self.pixels(part), search=search)
        ]

    @overload
    def translate(self, texts: str, *, search: Search | None = ..., batch_size: int = ...) -> Caption: ...
    @overload
    def translate(self, texts: TextList, *, search: Search | None = ..., batch_size: int = ...) -> list[Caption]: ...
    def translate(
        self, texts: str | TextList, *, search: Search | None = None, batch_size: int = 32
    ) -> Caption | list[Caption]:
        """Translate sentences.

        Args:
            texts: a sentence of the source language, or a list of them.
            search: replaces the model's own.
            batch_size: sentences that are encoded and searched together.

        Returns:
            One translation for one sentence; for a list, translations in the same order.

        Raises:
            InputError: the model captions images.
        """
        if isinstance(texts, str):
            return self.translate([texts], search=search)[0]
        transform = self.transform
        if not isinstance(transform, TextTransform):
            raise InputError("this model captions images and reads no sentences; use caption")
        return [
            caption for part in _parts(texts, batch_size) for caption in self.decode(transform(part), search=search)
        ]

    @torch.inference_mode()
    def encode(self, inputs: Tensor) -> ImageFeatures:
        """Compute what the decoder reads, in evaluation mode.

        Args:
            inputs: images (I, C, H, W) as `pixels` gives them, or sentences (I, S) as the transform does.
        """
        with evaluating(self):
            return cast(ImageFeatures, self.standardise(self.encoder(self._cast(inputs.to(self.device)))))

    @torch.inference_mode()
    def decode(self, inputs: Tensor, *, search: Search | None = None) -> list[Caption]:
        """Caption images or translate sentences that are already tensors, in one batch.

        Args:
            inputs: as of `encode`.
            search: replaces the model's own.
        """
        return self._captions(self.encode(inputs), search or self.search)

    @torch.inference_mode()
    def decode_features(self, features: ImageFeatures) -> list[Caption]:
        """Caption images whose features the encoder has computed before, in one batch."""
        return self._captions(self.standardise(features.to(self.device)), self.search)

    def _captions(self, features: ImageFeatures, search: Search) -> list[Caption]:
        with evaluating(self):
            found = search(self.decoder, features, self.tokenizer.special)
        return [
            Caption(self.tokenizer.decode(tokens), score, finished)
            for tokens, score, finished in zip(
                found.tokens[:, 0].tolist(),
                found.scores[:, 0].tolist(),
                found.finished[:, 0].tolist(),
                strict=True,
            )
        ]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode for a `with` block: no dropout, no sampling."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def _parts(sources: Sequence[S], size: int) -> Iterator[Sequence[S]]:
    return (sources[start : start + size] for start in range(0, len(sources), size))
