"""Retrieval by a matcher: images and sentences ranked by their similarity.

Source: Karpathy & Fei-Fei 2015 (arXiv:1412.2306), section 4.1: recall at 1, 5 and 10 and the median rank, of sentences
for an image and of images for a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioning.data.example import CaptionedImage
from captioning.errors import InputError
from captioning.metrics.ranking import Retrieval, retrieve_images, retrieve_sentences, scores_of

ImageId = int | str


@dataclass(frozen=True)
class Sentences:
    """The sentences of a split.

    Attributes:
        texts: N sentences, up to five of each image.
        image_index: (N,) the row of each sentence's own image among the split's images.
        image_ids: the split's images.
    """

    texts: tuple[str, ...]
    image_index: NDArray[np.int64]
    image_ids: tuple[ImageId, ...]

    @classmethod
    def of(cls, images: Sequence[CaptionedImage], *, captions_per_image: int) -> Sentences:
        """Choose the first captions of each image.

        Raises:
            InputError: an image has no caption.
        """
        if bare := [image.image_id for image in images if not image.captions]:
            raise InputError(f"{len(bare):,} images have no caption to retrieve, the first is {bare[0]!r:.80}")
        chosen = [(row, text) for row, image in enumerate(images) for text in image.captions[:captions_per_image]]
        return cls(
            tuple(text for _, text in chosen),
            np.array([row for row, _ in chosen]),
            tuple(image.image_id for image in images),
        )


@dataclass(frozen=True)
class Matching:
    """How well a model's scores pair images and sentences.

    Attributes:
        image_to_text: the ranks of the images' best own sentences.
        text_to_image: the ranks of the sentences' images.
    """

    image_to_text: Retrieval
    text_to_image: Retrieval

    @property
    def scores(self) -> dict[str, float]:
        """The scores of both directions by name, and the mean of the six recalls."""
        return scores_of(self.directions)

    @property
    def directions(self) -> dict[str, Retrieval]:
        """The ranks by direction."""
        return {"image_to_text": self.image_to_text, "text_to_image": self.text_to_image}


def match(rows: Mapping[ImageId, NDArray[np.floating[Any]]], sentences: Sentences) -> Matching:
    """Rank sentences for images and images for sentences.

    Args:
        rows: the similarity of each image with all sentences, (N,), by image id.
        sentences: the sentences, and whose they are.

    Raises:
        InputError: an image has no row, or a similarity is not finite.
    """
    if missing := [image_id for image_id in sentences.image_ids if image_id not in rows]:
        raise InputError(f"{len(missing)} images of the split were not scored, the first is {missing[0]!r:.80}")
    similarity = np.stack([rows[image_id] for image_id in sentences.image_ids]).astype(np.float64)
    return Matching(
        retrieve_sentences(similarity, sentences.image_index, np.zeros(len(sentences.texts))),
        retrieve_images(similarity, sentences.image_index),
    )
