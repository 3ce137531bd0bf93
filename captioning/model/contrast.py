"""Make a captioner that prefers words of this image to words of any image; see `captioning.decoders.contrast`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from captioning.data.pixels import ImageLike
from captioning.decoders.contrast import AgainstImages, AgainstLanguageModel, WithoutImage
from captioning.decoders.decoder import Decoder
from captioning.decoders.distractors import Distractors
from captioning.decoders.language_model import LanguageModel
from captioning.encoders.standardise import Standardise
from captioning.errors import InputError
from captioning.model.captioner import Captioner
from captioning.model.vocabularies import check_same


def against_language_model(captioner: Captioner, language_model: Captioner, *, strength: float) -> Captioner:
    """Make a captioner that divides by the words' probability without the image, in evaluation mode.

    Its weights are those of the two models, not copies. Encoder, search and cached features are the captioner's.

    Args:
        captioner: a captioner or a translator.
        language_model: trained with `decoder=language_model`, or with any decoder and `encoder=none`. Its search is
            not used.
        strength: λ, at least 0.

    Raises:
        InputError: the vocabularies differ, the language model reads images or objects, or `strength` is negative.
    """
    kind, encoder = type(language_model.decoder), language_model.encoder
    reads_images = encoder.reads != "nothing" and not issubclass(kind, LanguageModel)
    if reads_images or hasattr(language_model.decoder, "categories"):
        raise InputError(
            f"the language model is a {kind.__name__} and reads what the image shows; expected a model trained with "
            "decoder=language_model or encoder=none"
        )
    check_same(captioner.tokenizer, language_model.tokenizer, "the captioner and the language model")
    blind = WithoutImage(language_model.decoder, zero_size=encoder.feature_size)
    values = {
        "_target_": "captioning.decoders.AgainstLanguageModel",
        "decoder": captioner.known_config["decoder"],
        "language_model": {
            "_target_": "captioning.decoders.WithoutImage",
            "decoder": language_model.known_config["decoder"],
            "zero_size": encoder.feature_size,
        },
        "strength": float(strength),
    }
    return _with_decoder(captioner, AgainstLanguageModel(captioner.decoder, blind, strength=strength), values)


def against_images(
    captioner: Captioner, images: Sequence[ImageLike], *, strength: float, batch_size: int = 32
) -> Captioner:
    """Make a captioner that divides by the words' mean probability for other images, in evaluation mode.

    Its weights are the captioner's and the other images' features. Each step takes one step more for each of them.

    Args:
        captioner: of images.
        images: at least one; see `Captioner.caption`.
        strength: λ, at least 0.
        batch_size: images that are encoded together.

    Raises:
        InputError: there is no image, or one cannot be read. Or the model reads sentences, annotated objects or several
            encoders, or `strength` is negative.
    """
    if captioner.encoder.reads == "texts":
        raise InputError("this model translates sentences and reads no images; contrast it with a language model")
    if hasattr(captioner.decoder, "categories"):
        raise InputError("this model reads annotated objects, which images lack; contrast it with a language model")
    starts = range(0, len(images), batch_size)
    found = (captioner.encode(captioner.pixels(images[at : at + batch_size], first=at)) for at in starts)
    distractors = Distractors.of(*found)
    values = {
        "_target_": "captioning.decoders.AgainstImages",
        "decoder": captioner.known_config["decoder"],
        "distractors": {"_target_": "captioning.decoders.Distractors", **distractors.sizes},
        "strength": float(strength),
    }
    return _with_decoder(captioner, AgainstImages(captioner.decoder, distractors, strength=strength), values)


def _with_decoder(captioner: Captioner, decoder: Decoder[Any], values: Mapping[str, Any]) -> Captioner:
    """Make a captioner of the parts of another one, and of a decoder with its plain values."""
    own = captioner.standardise
    return Captioner(
        captioner.encoder,
        decoder,
        captioner.tokenizer,
        transform=captioner.transform,
        standardise=own if isinstance(own, Standardise) else None,
        search=captioner.search,
        config={**captioner.known_config, "decoder": values},
    ).eval()
