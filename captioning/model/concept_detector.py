"""A concept detector: an encoder, a word detector and its list of words, made into one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor

from captioning.data.pixels import ImageLike
from captioning.encoders.detectors import Calibration, WordDetector
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.encoders.transform import ImageTransform
from captioning.model.bundle import Parts
from captioning.model.caption import Caption
from captioning.model.image_model import ImageModel
from captioning.modes import evaluating
from captioning.text.parts_of_speech import CLASSES
from captioning.text.tokenizer import Tokenizer

_SHOWN = 5
"""How many words stand for an image among the golden examples."""


@dataclass(frozen=True)
class Concept:
    """A word that a detector finds in an image.

    Attributes:
        word: the word.
        probability: of the word being in a caption of the image, calibrated.
        score: the detector's own probability.
    """

    word: str
    probability: float
    score: float


class ConceptDetector(ImageModel):
    """Finds the words that captions of an image are likely to have.

    Args:
        encoder: maps images to features.
        detector: maps features to the probability of each word.
        tokenizer: the words, by their ids.
        transform: turns an image into the encoder's input; None for the encoder's own.
        standardise: scales the features; None for no scaling.
        config: plain values from which `captioning.model.bundle` rebuilds encoder and detector.

    Attributes:
        word_classes: (V,) int64, 1 + the row of each word's part of speech in `CLASSES`; 0 if it is not known.
        calibration: turns the detector's probabilities into the precision that they had on other images. The
            identity until it is fitted.
    """

    head_name = "detector"
    word_classes: Tensor

    def __init__(
        self,
        encoder: Encoder,
        detector: WordDetector,
        tokenizer: Tokenizer,
        *,
        transform: ImageTransform | None = None,
        standardise: Standardise | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(encoder, tokenizer, transform=transform, standardise=standardise, config=config)
        self.detector = detector
        self.calibration = Calibration(vocab_size=detector.vocab_size)
        self.register_buffer("word_classes", torch.zeros(detector.vocab_size, dtype=torch.int64))

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """See `ImageModel.from_parts`."""
        return cls(
            parts.encoder,
            cast(WordDetector, parts.head),
            parts.tokenizer,
            transform=cast(ImageTransform, parts.transform),
            standardise=parts.standardise,
            config=parts.config,
        )

    @property
    def word_ids(self) -> list[int]:
        """The ids of the words, which are all tokens but the special ones."""
        return [i for i in range(len(self.tokenizer)) if i not in self._special]

    @property
    def classes(self) -> dict[str, str] | None:
        """The part of speech of each word; None if they are not known."""
        numbers, vocabulary = self.word_classes.tolist(), self.tokenizer.vocabulary
        if not all(0 < numbers[i] <= len(CLASSES) for i in self.word_ids):
            return None
        return {vocabulary[i]: CLASSES[numbers[i] - 1] for i in self.word_ids}

    @classes.setter
    def classes(self, classes: Mapping[str, str]) -> None:
        id_of = {word: i for i, word in enumerate(self.tokenizer.vocabulary)}
        for word, name in classes.items():
            self.word_classes[id_of[word]] = 1 + CLASSES.index(name)

    def concepts(self, images: ImageLike | list[Any] | tuple[Any, ...], *, most: int = 10) -> Any:
        """Find the most probable words of images.

        Args:
            images: an image as for `captioning.data.pixels.pixels`, or a list or tuple of them.
            most: how many words of each image.

        Returns:
            A list of `Concept`, the most probable first; for a list of images, one such list for each.

        Raises:
            InputError: a file is not an image (the message names it).
        """
        if not isinstance(images, (list, tuple)):
            return self.concepts([images], most=most)[0]
        return self.found(self.encode(self.pixels(images)), most=most)

    @torch.inference_mode()
    def found(self, features: ImageFeatures, *, most: int) -> list[list[Concept]]:
        """Find the most probable words in standardised features, in one batch.

        Calibrated probabilities are often equal. Then the word with the higher score is first.
        """
        scores = self.probabilities(features)
        by_score = scores.argsort(dim=1, descending=True, stable=True)
        probabilities, order = self.calibration(scores).gather(1, by_score).sort(dim=1, descending=True, stable=True)
        probabilities, ids = probabilities[:, :most], by_score.gather(1, order)[:, :most]
        vocabulary = self.tokenizer.vocabulary
        return [
            [
                Concept(vocabulary[i], probability, float(row[i]))
                for i, probability in zip(found, values, strict=True)
                if i not in self._special
            ]
            for row, found, values in zip(scores, ids.tolist(), probabilities.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def probabilities(self, features: ImageFeatures) -> Tensor:
        """Compute the detector's own probability of each word, (I, V), from standardised features; 0 for specials."""
        with evaluating(self):
            scores: Tensor = self.detector(features)
        return scores.index_fill(1, torch.tensor(sorted(self._special), device=scores.device), 0.0)

    @torch.inference_mode()
    def decode_features(self, features: ImageFeatures) -> list[Caption]:
        """Say the five most probable words of each image, the scores being the sums of their log-probabilities."""
        found = self.found(cast(ImageFeatures, self.standardise(features.to(self.device))), most=_SHOWN)
        return [
            Caption(
                " ".join(concept.word for concept in words),
                float(torch.tensor([concept.score for concept in words]).double().clamp(min=1e-30).log().sum()),
                finished=True,
            )
            for words in found
        ]

    @property
    def _special(self) -> set[int]:
        return set(vars(self.tokenizer.special).values())
