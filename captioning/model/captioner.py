"""A captioner: an encoder, a decoder, a tokenizer and a search, made into one model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, cast, overload

import torch
from PIL import Image
from torch import Tensor

from captioning.data.pixels import ImageLike
from captioning.decoders.decoder import Decoder
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError, shown
from captioning.model.bundle import Parts
from captioning.model.caption import Caption
from captioning.model.image_model import ImageModel, evaluating
from captioning.search import BeamSearch
from captioning.search.hypotheses import Search
from captioning.text.tokenizer import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""The precisions of a decoder, for `Captioner.decode_in`."""

S = TypeVar("S")

ImageList = list[Any] | tuple[Any, ...]
"""A list or tuple of ImageLike; `list[ImageLike]` would refuse a list[str]."""
TextList = list[str] | tuple[str, ...]
"""A list or tuple of sentences; a single str is one sentence."""


class Captioner(ImageModel):
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

    head_name = "decoder"

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
        super().__init__(encoder, tokenizer, transform=transform, standardise=standardise, config=config)
        self.decoder, self.search = decoder, search or BeamSearch()

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """See `ImageModel.from_parts`."""
        return cls(
            parts.encoder,
            cast(Decoder[Any], parts.head),
            parts.tokenizer,
            transform=parts.transform,
            standardise=parts.standardise,
            search=parts.search,
            config=parts.config,
        )

    def decode_in(self, dtype: str) -> Self:
        """Convert the decoder, and from now on the features that it reads, to another precision.

        Searches compute log-probabilities in float32 for any dtype. The encoder keeps its precision. `save` writes
        float32.

        Args:
            dtype: "float32" or "bfloat16".

        Raises:
            InputError: `dtype` is neither.
        """
        if dtype not in DTYPES:
            raise InputError(f"dtype={shown(dtype)} must be {' or '.join(DTYPES)}")
        self.decoder.to(DTYPES[dtype])
        return self

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
        return self._captions(self.read_by_head(features.to(self.device)), self.search)

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


def _parts(sources: Sequence[S], size: int) -> Iterator[Sequence[S]]:
    return (sources[start : start + size] for start in range(0, len(sources), size))
