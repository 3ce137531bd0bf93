"""What assembly adds for models that mention detected words: the detector, its words' ids, and the n-grams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from captioning.decoders.ngrams import observed_ngrams
from captioning.encoders.encoder import Encoder
from captioning.encoders.with_detector import WithDetector
from captioning.errors import InputError
from captioning.model.bundle import read_bundle
from captioning.text.tokenizer import Tokenizer
from captioning.training.parts import find, find_class


def detector_of(settings: DictConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the parts of the word detector whose bundle an encoder's settings name as `weights`.

    Args:
        settings: the group `encoder`.

    Returns:
        What the encoder's class takes besides these settings, as objects and as the plain values of a bundle; both are
        empty for an encoder without a detector.

    Raises:
        InputError: the folder is no bundle of a word detector.
    """
    if not issubclass(find_class(settings, Encoder), WithDetector):  # type: ignore[type-abstract]
        return {}, {}
    made_by = "which `captioning train experiment=flickr8k/word_detector` writes"
    if settings.weights is None:
        raise InputError(f"encoder.weights is null; expected the folder of a word detector's bundle, {made_by}")
    parts = read_bundle(Path(settings.weights))
    if parts.head_name != "detector":
        raise InputError(
            f"encoder.weights={settings.weights} holds a {parts.head_name}, expected a word detector, {made_by}"
        )
    plain = {key: parts.config[key] for key in ("encoder", "standardise")}
    plain |= {"word_detector": parts.config["detector"], "words": parts.tokenizer.vocabulary}
    return {**plain, "encoder": parts.encoder, "word_detector": parts.head}, plain


def words_of(encoder: Encoder, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what decoders and searches need to know of an encoder's word detector; empty without one.

    Args:
        encoder: the encoder.
        tokenizer: the tokenizer of the captions.

    Returns:
        concepts: the token id of each of the detector's W words; -1 for special tokens and words that the vocabulary
            lacks.
        num_words: W.
    """
    if not isinstance(encoder, WithDetector):
        return {}
    special = set(vars(tokenizer.special).values())
    id_of = {word: i for i, word in enumerate(tokenizer.vocabulary) if i not in special}
    return {"concepts": [id_of.get(word, -1) for word in encoder.words], "num_words": len(encoder.words)}


def search_arguments(encoder: Encoder, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what searches can be told of the model: what `words_of` says, and the word of each token id."""
    return {**words_of(encoder, tokenizer), "words": tokenizer.vocabulary}


def check_words(settings: DictConfig, words: Mapping[str, Any]) -> None:
    """Check that a head that reads detected words gets them.

    Args:
        settings: the group of the head.
        words: from `words_of`.

    Raises:
        InputError: there is no word detector.
    """
    needed = {"concepts", "num_words"} & signature(find(settings)).parameters.keys() - settings.keys()
    if needed and not words:
        raise InputError(
            f"{settings._target_} reads the words that a detector finds ({min(needed)}), and the encoder has none; "
            "set encoder=detected_words encoder.weights=DIR, the bundle of a word detector"
        )


def num_ngrams(settings: DictConfig, tokenizer: Tokenizer, captions: Sequence[str]) -> dict[str, list[int]]:
    """Count the different n-grams of each length in the training captions, for a decoder that needs their number."""
    if "num_ngrams" not in signature(find(settings)).parameters:
        return {}
    return {"num_ngrams": [len(codes) for codes in ngrams(tokenizer, captions, order=settings.order)]}


def ngrams(tokenizer: Tokenizer, captions: Sequence[str], *, order: int) -> list[Tensor]:
    """Collect the codes of the n-grams of 2 to `order` tokens in captions; see `observed_ngrams`."""
    return observed_ngrams(tokenizer.encode(captions), vocab_size=len(tokenizer), order=order)
