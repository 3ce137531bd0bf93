"""A captioner: an encoder, a decoder, a tokenizer and a search, made into one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, Unpack, cast, overload

import torch
from torch import Tensor

from captioning.data.pixels import ImageLike, channels_last, pixels
from captioning.decoders.decoder import Decoder
from captioning.decoders.packed import packed as packed_decoder
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.fused import fused
from captioning.encoders.standardise import Standardise
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError, shown
from captioning.model.bundle import Parts
from captioning.model.caption import Caption
from captioning.model.confidences import Confidences, find, with_confidences
from captioning.model.found import captions_of
from captioning.model.image_model import ImageModel
from captioning.modes import evaluating
from captioning.search import BeamSearch
from captioning.search.hypotheses import Search
from captioning.search.options import Options, with_options
from captioning.text.tokenizer import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""The precisions of a decoder, for `Captioner.decode_in`."""

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
        confidences: computes the confidence of each caption; None for none.

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
        confidences: Confidences | None = None,
    ) -> None:
        super().__init__(encoder, tokenizer, transform=transform, standardise=standardise, config=config)
        self.decoder, self.search, self.confidences = decoder, search or BeamSearch(), confidences
        # In tuples, so that they are no part of the model's state.
        self._packed: tuple[Decoder[Any], torch.dtype] | None = None
        self._fused: tuple[Encoder] | tuple[()] | None = None  # empty until the packed captioner encodes images

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
            confidences=parts.confidences,
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
        return self.unpack()

    def pack(self) -> Self:
        """Caption faster on the CPU from now on, with copies of the weights.

        The decoder's copy is made for products. The encoder's, which is made when it is first needed, has its batch
        normalisations fused with its convolutions. The copies do not change with the weights, so call it again after
        you have changed them. `unpack`, `train`, `decode_in` and `load_state_dict` remove them, and a part that has got
        another precision does without its copy. So do encoders while torch records gradients, and decoders where torch
        has no such products. Scores differ by rounding. On other devices it changes nothing.
        """
        made = packed_decoder(self.decoder)
        self._packed = None if made is None else (made, self._decoder_dtype)
        self._fused = ()
        return self

    def unpack(self) -> Self:
        """Remove the copies that `pack` has made."""
        self._packed = self._fused = None
        return self

    @property
    def searched(self) -> Decoder[Any]:
        """The decoder whose steps a search takes: the packed one if there is one, else `decoder`."""
        if self._packed is None or self.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return self.decoder
        made, dtype = self._packed
        return made if self._decoder_dtype == dtype else self.decoder

    @property
    def used_encoder(self) -> Encoder:
        """See `ImageModel.used_encoder`."""
        if self._fused is None or self.device.type != "cpu":
            return self.encoder
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return self.encoder  # gradients are those of its own weights
        if next((weight.dtype for weight in self.encoder.parameters()), None) != torch.float32:
            return self.encoder
        if not self._fused:
            with evaluating(self.encoder):
                self._fused = (fused(self.encoder).to(memory_format=torch.channels_last),)
        return self._fused[0]

    @property
    def _decoder_dtype(self) -> torch.dtype:
        return next((weight.dtype for weight in self.decoder.parameters()), torch.float32)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None, "_fused": None}  # packed tensors can be neither copied nor pickled

    def train(self, mode: bool = True) -> Self:  # noqa: D102
        if mode:
            self.unpack()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        self.unpack()
        return super().load_state_dict(*args, **options)

    @overload
    def caption(
        self,
        images: ImageLike,
        *,
        search: Search | None = ...,
        batch_size: int = ...,
        runners_up: int = ...,
        **options: Unpack[Options],
    ) -> Caption: ...
    @overload
    def caption(
        self,
        images: ImageList,
        *,
        search: Search | None = ...,
        batch_size: int = ...,
        runners_up: int = ...,
        **options: Unpack[Options],
    ) -> list[Caption]: ...
    def caption(
        self,
        images: ImageLike | ImageList,
        *,
        search: Search | None = None,
        batch_size: int = 32,
        runners_up: int = 0,
        **options: Unpack[Options],
    ) -> Caption | list[Caption]:
        """Caption images.

        Args:
            images: a path, a PIL image, bytes, an open binary file, a numpy array or a torch tensor, or a list or tuple
                of them, also of different kinds; see `captioning.data.pixels.pixels`.
            search: replaces the model's own, such as `BeamSearch(beam_size=10)`.
            batch_size: images that are encoded and searched together.
            runners_up: how many of the most probable other words each word gets.
            options: change the search, such as `num_best=3`; see `captioning.search.options.Options`.

        Returns:
            One caption for one image; for a list, captions in the same order. Each has its words, and what else the
            search found as its alternatives.

        Raises:
            InputError: an image cannot be read (the message names it), the model translates sentences, or an option
                does not fit.
        """
        chosen = self.with_options(search, **options)
        if not isinstance(images, (list, tuple)):
            transform = self.image_transform
            return self.decode(channels_last([pixels(images, transform)]), search=chosen, runners_up=runners_up)[0]
        return [
            caption
            for start in range(0, len(images), batch_size)
            for caption in self.decode(
                self.pixels(images[start : start + batch_size], first=start), search=chosen, runners_up=runners_up
            )
        ]

    @overload
    def translate(
        self,
        texts: str,
        *,
        search: Search | None = ...,
        batch_size: int = ...,
        runners_up: int = ...,
        **options: Unpack[Options],
    ) -> Caption: ...
    @overload
    def translate(
        self,
        texts: TextList,
        *,
        search: Search | None = ...,
        batch_size: int = ...,
        runners_up: int = ...,
        **options: Unpack[Options],
    ) -> list[Caption]: ...
    def translate(
        self,
        texts: str | TextList,
        *,
        search: Search | None = None,
        batch_size: int = 32,
        runners_up: int = 0,
        **options: Unpack[Options],
    ) -> Caption | list[Caption]:
        """Translate sentences.

        Args:
            texts: a sentence of the source language, or a list of them.
            search: replaces the model's own.
            batch_size: sentences that are encoded and searched together.
            runners_up: how many of the most probable other words each word gets.
            options: see `caption`.

        Returns:
            One translation for one sentence; for a list, translations in the same order.

        Raises:
            InputError: the model captions images, or an option does not fit.
        """
        chosen, transform = self.with_options(search, **options), self.transform
        if not isinstance(transform, TextTransform):
            raise InputError("this model captions images and reads no sentences; use caption")
        if isinstance(texts, str):
            return self.decode(transform([texts]), search=chosen, runners_up=runners_up)[0]
        return [
            found
            for start in range(0, len(texts), batch_size)
            for found in self.decode(transform(texts[start : start + batch_size]), search=chosen, runners_up=runners_up)
        ]

    def with_options(self, search: Search | None = None, **options: Unpack[Options]) -> Search:
        """Return the search that options make of the model's own, or of another one."""
        return with_options(search or self.search, self.tokenizer, **options)

    @torch.inference_mode()
    def decode(self, inputs: Tensor, *, search: Search | None = None, runners_up: int = 0) -> list[Caption]:
        """Caption images or translate sentences that are already tensors, in one batch.

        Args:
            inputs: as of `encode`.
            search: replaces the model's own.
            runners_up: how many of the most probable other words each word gets.
        """
        return self._captions(self.encode(inputs), search or self.search, runners_up)

    @torch.inference_mode()
    def decode_features(
        self, features: ImageFeatures, *, search: Search | None = None, runners_up: int = 0
    ) -> list[Caption]:
        """Caption images whose features the encoder has computed before, in one batch; see `decode`."""
        return self._captions(self.read_by_head(features.to(self.device)), search or self.search, runners_up)

    def withhold(
        self, captions: Sequence[Caption], *, min_confidence: float | None = None, coverage: float | None = None
    ) -> list[Caption]:
        """Mark the captions that are not confident enough: their `withheld` says why. Their texts stay.

        Args:
            captions: of this model.
            min_confidence: captions of a lower confidence are withheld.
            coverage: the share of captions to give, such as 0.7. The confidence from which captions are given was
                chosen when the model was calibrated, so the share is another one for images of another kind.

        Raises:
            InputError: the model is not calibrated, not exactly one of the two is given, or one is no share.
        """
        confidences = self.calibrated()
        if (min_confidence is None) == (coverage is None):
            raise InputError("expected either a least confidence or a coverage")
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence={min_confidence}: expected a probability, such as 0.5")
        least = confidences.least_confidence(coverage) if coverage is not None else cast(float, min_confidence)
        why = "" if coverage is None else f", which a share of {coverage:g} of the captions reached in calibration"
        return [
            replace(caption, withheld=f"confidence {caption.confidence:.4f} is below {least:.4f}{why}")
            if caption.confidence is not None and caption.confidence < least
            else caption
            for caption in captions
        ]

    def calibrated(self) -> Confidences:
        """Return what computes the confidences.

        Raises:
            InputError: there is none.
        """
        if self.confidences is None:
            raise InputError(
                "this model has no confidences; calibrate it with `captioning calibrate bundle=MODEL data=NAME "
                "data.root=DIR output=DIR`, and use the bundle that this writes"
            )
        return self.confidences

    def _captions(self, features: ImageFeatures, search: Search, runners_up: int) -> list[Caption]:
        with evaluating(self):
            found, judged = find(self.searched, search, features, self.tokenizer.special, self.confidences)
            captions = captions_of(
                found,
                self.decoder,
                features,
                self.tokenizer,
                runners_up=runners_up,
                allow_unknown=search.allow_unknown,
            )
        return captions if judged is None else with_confidences(captions, judged)
