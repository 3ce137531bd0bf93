"""How likely captions and words are right, and which images are unlike the training images.

    calibration.json           the fitted probabilities, and what a right caption is
    calibration.safetensors    where the training images lie, and how frequent each token is

Both files are optional parts of a bundle. `captioning calibrate` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.files.atomic import replacing, write_json
from captioning.json_files import Finite, read_typed
from captioning.model.caption import Caption
from captioning.model.domain import Domain
from captioning.model.logistic import Logistic
from captioning.model.signals import (
    CAPTION_SIGNALS,
    WORD_SIGNALS,
    caption_signals,
    first,
    searching_all,
    with_words,
    word_signals,
)
from captioning.search.hypotheses import Hypotheses, Search
from captioning.text.tokenizer import SpecialTokens

Floats = NDArray[np.float64]

VALUES, ARRAYS = FILES = ("calibration.json", "calibration.safetensors")
FARTHEST_QUANTILE = 0.999
"""The share of held-out images of the training images' kind that are not further away than `Values.farthest`."""

Vectors = Literal["pooled", "layers"]
"""Names in ImageFeatures."""
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Correctness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a right caption is.

    Attributes:
        metric: the name of a score of one image, as per_image.csv of `captioning evaluate` has it.
        threshold: the score from which a caption is right.
    """

    metric: str
    threshold: Finite


class Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of calibration.json.

    Attributes:
        correctness: what a right caption is.
        captions: the probability that a caption is right, of the signals in `CAPTION_SIGNALS`.
        words: the probability that a token is in one of the image's references, of the signals in `WORD_SIGNALS`.
        farthest: the distance from which an image counts as out of domain.
        quantiles: the confidences of the captions that the calibration was fitted on, ascending; 0 %, 1 %, ..., 100 %.
        fitted: data set, split and number of images that it was fitted on.
        vectors: which vector of an image tells how far it is from the training images.
    """

    correctness: Correctness
    captions: Logistic
    words: Logistic
    farthest: Annotated[float, msgspec.Meta(gt=0, le=1e300)]
    quantiles: Annotated[tuple[Probability, ...], msgspec.Meta(min_length=101, max_length=101)]
    fitted: dict[str, str | int]
    vectors: Vectors


@dataclass(frozen=True, eq=False)
class Judgement:
    """How far the best captions of I images can be trusted.

    Attributes:
        confidences: (I) the probability that each is right.
        distances: (I) of the images from the training images, as a multiple of `Values.farthest`.
        words: for each image the probability of each token; NaN for `<eos>`.
    """

    confidences: Floats
    distances: Floats
    words: tuple[Floats, ...]


@dataclass(frozen=True, eq=False)
class Confidences:
    """Computes the confidences of a captioner's captions and words.

    Attributes:
        values: the content of calibration.json.
        domain: where the training images lie.
        frequencies: (V) the share of training images with each token; see `captioning.model.signals`.
    """

    values: Values
    domain: Domain
    frequencies: Floats

    def judge(self, found: Hypotheses, features: ImageFeatures, special: SpecialTokens) -> Judgement:
        """Compute the confidence of the best caption of each image, and of its words.

        Args:
            found: what `searching_all` of a search found for I images.
            features: of the I images, as the decoder reads them.
            special: the ids of the special tokens.
        """
        distances = self.domain.distances(vectors_of(features, self.values.vectors))
        signals = caption_signals(found, self.frequencies, distances, special.eos)
        words = tuple(self._of_words(*own, special.eos) for own in best_tokens(found))
        exist = np.isfinite(signals[:, 0])  # -inf without a caption
        known = with_words(np.where(exist[:, None], signals, 0.0), words)
        confidences = np.where(exist, self.values.captions(known), 0.0)
        return Judgement(confidences, distances / self.values.farthest, words)

    def _of_words(self, tokens: Sequence[int], log_probs: Sequence[float], eos: int) -> Floats:
        confidences = self.values.words(word_signals(log_probs, tokens, self.frequencies))
        return np.where(np.array(tokens, np.int64) == eos, np.nan, confidences)

    def least_confidence(self, coverage: float) -> float:
        """Return the confidence that the given share of captions had, of those that it was fitted on.

        Raises:
            InputError: `coverage` is not above 0 and at most 1.
        """
        if not 0 < coverage <= 1:
            raise InputError(f"coverage={coverage}: expected a share above 0 and at most 1, such as 0.7")
        return float(np.interp(1 - coverage, np.linspace(0, 1, 101), self.values.quantiles))

    def write(self, folder: Path) -> None:
        """Write the two files."""
        write_json(folder / VALUES, msgspec.to_builtins(self.values))
        arrays = {**self.domain.arrays(), "frequencies": self.frequencies.astype(np.float32)}
        with replacing(folder / ARRAYS) as new:
            save_file(arrays, new)

    @classmethod
    def read(cls, folder: Path, *, feature_size: int, vocab_size: int) -> Confidences:
        """Read the two files.

        Args:
            folder: a bundle.
            feature_size: P, of the encoder's pooled features.
            vocab_size: V.

        Raises:
            InputError: a file is missing or damaged, or is of another model.
        """
        values = read_typed(folder / VALUES, Values)
        if not values.captions.fits(len(CAPTION_SIGNALS)) or not values.words.fits(len(WORD_SIGNALS)):
            raise InputError(f"{folder / VALUES} is damaged: it has other signals; calibrate the model again")
        try:
            arrays = load_file(folder / ARRAYS)
            domain = Domain.from_arrays(arrays)
            frequencies = arrays["frequencies"].astype(np.float64)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise InputError(
                f"{folder / ARRAYS} is damaged or of another model ({str(error)[:200]}); calibrate the model again"
            ) from error
        if values.vectors == "pooled" and len(domain.mean) != feature_size:
            raise InputError(f"{folder / ARRAYS} is of another model than config.json; calibrate the model again")
        if frequencies.shape != (vocab_size,) or not ((frequencies > 0) & (frequencies < 1)).all():
            raise InputError(
                f"{folder / ARRAYS}: expected shares of {vocab_size} tokens, between 0 and 1; calibrate the model again"
            )
        return cls(values, domain, frequencies)


def find(
    decoder: Decoder[Any],
    search: Search,
    features: ImageFeatures,
    special: SpecialTokens,
    confidences: Confidences | None,
) -> tuple[Hypotheses, Judgement | None]:
    """Search for captions, and judge the best one of each image.

    Args:
        decoder: in evaluation mode.
        search: how captions are found. To be judged, they are compared with all that the search can return.
        features: as the decoder reads them.
        special: the ids of the special tokens.
        confidences: judges; None for no judgement.
    """
    if confidences is None:
        return search(decoder, features, special), None
    found = searching_all(search)(decoder, features, special)
    judged = confidences.judge(found, features, special)
    return first(found, getattr(search, "num_best", found.tokens.shape[1])), judged


def found_in(folder: Path) -> bool:
    """Return whether a bundle has one of the files."""
    return any((folder / name).exists() for name in FILES)


def vectors_of(features: ImageFeatures, vectors: Vectors) -> Floats:
    """Return the vector of each image that tells how unusual it is, (I, P).

    Raises:
        InputError: the features lack it, because they are cached ones.
    """
    found = getattr(features, vectors)
    if found is None:
        raise InputError(
            "these confidences were fitted on images, and cached features lack what they need; leave out data.features"
        )
    numbers: Floats = found.double().cpu().numpy()
    return numbers


def best_tokens(found: Hypotheses) -> list[tuple[list[int], list[float]]]:
    """Return the tokens of each image's best caption, `<eos>` included, and their log-probabilities."""
    tokens, scores, lengths = (
        x[:, 0].cpu().tolist() for x in (found.tokens, found.token_scores.double(), found.lengths)
    )
    return [(ids[:n], own[:n]) for ids, own, n in zip(tokens, scores, lengths, strict=True)]


def with_confidences(captions: Sequence[Caption], judged: Judgement) -> list[Caption]:
    """Give captions, and their words, the confidences that they have been judged by."""
    return [
        replace(
            caption,
            confidence=float(confidence),
            distance=float(distance),
            words=tuple(
                replace(word, confidence=None if np.isnan(own) else float(own))
                for word, own in zip(caption.words, words, strict=True)
            ),
        )
        for caption, confidence, distance, words in zip(
            captions, judged.confidences, judged.distances, judged.words, strict=True
        )
    ]


def described(confidences: Confidences) -> dict[str, Any]:
    """Describe a calibration as plain values, for a signature."""
    return msgspec.to_builtins({"correctness": confidences.values.correctness, "fitted": confidences.values.fitted})  # type: ignore[no-any-return]
