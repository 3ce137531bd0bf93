"""An aligner: an encoder, a matcher and a tokenizer, made into one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from captioning.data.pixels import ImageLike
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.matchers import Embedded, Matcher
from captioning.matchers.alignment import Snippet, affinities, align, snippets
from captioning.model.bundle import Parts
from captioning.model.caption import Caption
from captioning.model.image_model import ImageModel
from captioning.modes import evaluating
from captioning.text.tokenizer import Tokenizer

_EXAMPLE_WORDS = 5
"""How many of the most frequent words make the sentence of the golden examples."""


@dataclass(frozen=True)
class WordRegions:
    """The regions of a sentence's words.

    Attributes:
        words: the words as the model reads them; `<unk>` for those that it does not know.
        regions: the region of each word, counted as in the grid, row by row; -1 for the whole image.
        score: how well the sentence fits the image.
    """

    words: tuple[str, ...]
    regions: tuple[int, ...]
    score: float

    @property
    def snippets(self) -> list[Snippet]:
        """Runs of words with one region."""
        return snippets(self.regions)


class Aligner(ImageModel):
    """Scores how well sentences fit images, and says which region each word is about.

    Args:
        encoder: maps images to features.
        matcher: scores features and sentences.
        tokenizer: tokenizer of the sentences.
        transform: turns an image into the encoder's input; None for the encoder's own.
        standardise: scales the features; None for no scaling.
        config: plain values from which `captioning.model.bundle` rebuilds encoder and matcher.
    """

    head_name = "matcher"

    def __init__(
        self,
        encoder: Encoder,
        matcher: Matcher,
        tokenizer: Tokenizer,
        *,
        transform: ImageTransform | None = None,
        standardise: Standardise | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(encoder, tokenizer, transform=transform, standardise=standardise, config=config)
        self.matcher = matcher

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """See `ImageModel.from_parts`."""
        return cls(
            parts.encoder,
            cast(Matcher, parts.head),
            parts.tokenizer,
            transform=cast(ImageTransform, parts.transform),
            standardise=parts.standardise,
            config=parts.config,
        )

    def knows(self, sentence: str) -> bool:
        """Say whether a sentence has a word of the vocabulary."""
        return any(i != self.tokenizer.special.unk for i in self.tokenizer.encode([sentence])[0][1:-1])

    @torch.inference_mode()
    def embed(self, sentences: Sequence[str]) -> Embedded:
        """Embed sentences, in one batch and in evaluation mode."""
        special = self.tokenizer.special
        words = [ids[1:-1] for ids in self.tokenizer.encode(list(sentences))]
        longest = max(map(len, words), default=0)
        tokens = torch.tensor([ids + [special.pad] * (max(longest, 1) - len(ids)) for ids in words])
        with evaluating(self):
            return self.matcher.sentences(tokens.to(self.device), torch.tensor([len(ids) for ids in words]))

    @torch.inference_mode()
    def similarity(self, features: ImageFeatures, sentences: Embedded) -> torch.Tensor:
        """Score embedded sentences with the standardised features of images, (I, N)."""
        with evaluating(self):
            return self.matcher.similarity(self.matcher.images(features), sentences)

    @torch.inference_mode()
    def align(self, image: ImageLike, sentence: str, *, beta: float = 0.0) -> WordRegions:
        """Find the region of each word of a sentence.

        Args:
            image: a PIL image or a path.
            sentence: what is aligned.
            beta: β of the Markov random field, at least 0. The larger it is, the longer are the runs of words with one
                region.

        Raises:
            InputError: the file is no image, the sentence has no word that the model knows, or the model has no vector
                for each word.
        """
        return self.align_features(self.encode(self.pixels([image])), sentence, beta=beta)

    @torch.inference_mode()
    def align_features(self, features: ImageFeatures, sentence: str, *, beta: float = 0.0) -> WordRegions:
        """Find the region of each word in the standardised features of one image; see `align`."""
        ids = self.tokenizer.encode([sentence])[0][1:-1]
        if not self.knows(sentence):
            raise InputError(f"{sentence[:60]!r} has no word that the model knows; describe the image in other words")
        regions = align(self.affinities(features, [sentence])[0], beta=beta)
        score = float(self.similarity(features, self.embed([sentence]))[0, 0])
        vocabulary = self.tokenizer.vocabulary
        return WordRegions(tuple(vocabulary[i] for i in ids), tuple(region - 1 for region in regions), score)

    @torch.inference_mode()
    def affinities(self, features: ImageFeatures, sentences: Sequence[str]) -> list[NDArray[np.float64]]:
        """Compute how well each word of sentences fits each region of one image.

        Args:
            features: the standardised features of one image.
            sentences: any number of sentences.

        Returns:
            For each sentence (T, 1 + R): its words, and the whole image before the regions.

        Raises:
            InputError: the model has no vector for each word.
        """
        numbers = [len(ids) - 2 for ids in self.tokenizer.encode(list(sentences))]  # without <bos> and <eos>
        embedded = self.embed(sentences)
        with evaluating(self):
            image = self.matcher.images(features)
        psi = [affinities(image, embedded.rows(slice(row, row + 1))) for row in range(len(sentences))]
        if [len(own) for own in psi] != numbers:
            raise InputError(
                f"{type(self.matcher).__name__} has one vector for a sentence and none for its words; use a model of "
                "matcher=brnn"
            )
        return psi

    @torch.inference_mode()
    def decode_features(self, features: ImageFeatures) -> list[Caption]:
        """Score a sentence of the five most frequent words with each image."""
        special = set(vars(self.tokenizer.special).values())
        words = [word for i, word in enumerate(self.tokenizer.vocabulary) if i not in special][:_EXAMPLE_WORDS]
        sentence = self.tokenizer.decode(self.tokenizer.encode([" ".join(words)])[0][1:-1])
        own = cast(ImageFeatures, self.standardise(features.to(self.device)))
        scores = self.similarity(own, self.embed([sentence]))[:, 0].tolist()
        return [Caption(sentence, score, finished=True) for score in scores]
