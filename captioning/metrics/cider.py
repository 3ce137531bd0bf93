"""CIDEr: the consensus of a candidate and its references, rare n-grams weighing more.

Source: Vedantam et al. 2015, "CIDEr: Consensus-based Image Description Evaluation", CVPR, arXiv:1411.5726. What
COCO's evaluation reports as CIDEr is the paper's CIDEr-D, and so it is here. Of n-grams of n words,

    g_n(c)_w = count of w in c * (log(number of images) - log(max(1, images with w in a reference)))
    CIDEr-D_n = 10 / m sum_j exp(-(l(c) - l(s_j))^2 / (2 sigma^2)) min(g_n(c), g_n(s_j)) . g_n(s_j)
                / (|g_n(c)| |g_n(s_j)|)
    CIDEr-D = mean of CIDEr-D_n over n = 1, ..., 4

Differs: as in COCO's program, counts are not divided by a caption's length and words are not stemmed. (Its length l
counts bigrams. Words differ by as many, but for an empty caption's, which matches nothing.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.json_files import read_json
from captioning.metrics.metric import Metric, check_candidates
from captioning.metrics.ngrams import (
    MAX_ORDER,
    AnyIntegers,
    Integers,
    Postings,
    Reading,
    ReferenceNGrams,
    ranges,
    referenced,
    sum_by,
)

SIGMA = 6.0
"""The standard deviation of the length penalty, in words."""


@dataclass(frozen=True)
class DocumentFrequencies:
    """In how many images' references each n-gram stands.

    Attributes:
        num_images: with references.
        counts: images by n-gram, its words joined by spaces. One that stands in a single image weighs as much as
            one that stands in none, so only those of two images and more need be there.

    Raises:
        InputError: there is no image, or a count is not a whole number between 1 and the number of images.
    """

    num_images: int
    counts: Mapping[str, int]

    def __post_init__(self) -> None:
        if type(self.num_images) is not int or self.num_images < 1:
            raise InputError(f"expected document frequencies of at least one image; found {self.num_images!r}")
        for ngram, count in self.counts.items():
            if type(count) is not int or not 1 <= count <= self.num_images:
                raise InputError(
                    f"expected each n-gram in 1 to {self.num_images} images, found {ngram!r} in {count!r}; "
                    "count the references again"
                )

    @classmethod
    def of(cls, references: Sequence[Sequence[str]] | ReferenceNGrams) -> Self:
        """Count the images of each n-gram in the tokenized references, or in their n-grams.

        Raises:
            InputError: there is no image, or one has no reference.
        """
        ngrams = referenced(references)
        counts: dict[str, int] = {}
        for order, postings in enumerate(ngrams.postings, start=1):
            frequencies = _document_frequencies(postings)
            several = np.flatnonzero(frequencies > 1)
            counts.update(zip(ngrams.index.ngrams(order, several), frequencies[several].tolist(), strict=True))
        return cls(ngrams.num_images, counts)

    def save(self, path: str | Path) -> None:
        """Write them as JSON."""
        Path(path).write_text(
            json.dumps({"num_images": self.num_images, "counts": dict(self.counts)}, ensure_ascii=False),
            encoding="utf-8",
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or holds something else.
        """
        data = read_json(Path(path))
        if data.keys() != {"num_images", "counts"} or not isinstance(data["counts"], dict):
            raise InputError(
                f"{path}: expected document frequencies, an object with 'num_images' and 'counts'; "
                f"found the keys {', '.join(data) or 'none'}"
            )
        try:
            return cls(**data)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


class Cider(Metric):
    """CIDEr, equal to pycocoevalcap's: CIDEr-D; a corpus's is the mean of the images'.

    Args:
        references: the tokenized references of each image, or their n-grams.
        frequencies: those of other references, such as a training split's; None counts these references, as
            COCO's evaluation does, which gives 0 where there is but one image.

    Raises:
        InputError: there is no image, or one has no reference.
    """

    names = ("CIDEr",)

    def __init__(
        self,
        references: Sequence[Sequence[str]] | ReferenceNGrams,
        frequencies: DocumentFrequencies | None = None,
    ) -> None:
        self._references = referenced(references)
        self._frequencies = frequencies
        self._log_num_images = float(np.log((frequencies or self._references).num_images))
        self._idf = [self._idf_of_references(order) for order in range(1, MAX_ORDER + 1)]
        self._norms = [
            _norms(
                postings.references,
                np.repeat(idf[postings.ngrams], np.diff(postings.starts)) * postings.counts,
                len(self._references.lengths),
            )
            for postings, idf in zip(self._references.postings, self._idf, strict=True)
        ]

    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:
        """(I, S = 2): the image's score, and 1."""
        num_images = self._references.num_images
        check_candidates(candidates, num_images)
        scores = self.rewards(candidates, np.arange(num_images))
        return np.column_stack([scores, np.ones(num_images)])

    @staticmethod
    def figures(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., S) to (..., 1), as `Metric.figures`."""
        return totals[..., :1] / totals[..., 1:]

    def rewards(self, captions: Sequence[str], images: Integers) -> NDArray[np.float64]:
        """Score any captions of any images, such as those sampled for a batch.

        Args:
            captions: (N) tokenized captions; may be empty strings.
            images: (N) the image of each, as its row in the references.

        Returns:
            (N) scores in [0, 10]: those that the captions would have in `statistics`.

        Raises:
            InputError: captions and images differ in number, or an image is not a row of the references.
        """
        images = self._check_images(captions, images)
        reading = self._references.index.read(captions)
        similarity = sum(self._similarity(reading, order, images) for order in range(1, MAX_ORDER + 1))
        rewards: NDArray[np.float64] = 10 / MAX_ORDER * similarity / self._references.num_references[images]
        return rewards

    def _similarity(self, reading: Reading, order: int, images: Integers) -> NDArray[np.float64]:
        """CIDEr-D_n of each caption, summed over its references and without the factor of 10."""
        postings, reference_norms = self._references.postings[order - 1], self._norms[order - 1]
        captions, ngrams, counts = reading.orders[order - 1].count()
        idf = self._idf_of_captions(reading, order, ngrams)
        weights = idf * counts
        norms = _norms(captions, weights, len(images))

        found, places = postings.find(images[captions], ngrams)
        starts, ends = postings.starts[places], postings.starts[places + 1]
        entries, found = ranges(starts, ends - starts), np.repeat(found, ends - starts)
        references, captions = postings.references[entries], captions[found]
        reference_weights = idf[found] * postings.counts[entries]
        products = np.minimum(weights[found], reference_weights) * reference_weights
        cosines = products / (norms[captions] * reference_norms[references])
        differences = reading.lengths[captions] - self._references.lengths[references]
        penalties = np.exp(-(differences**2) / (2 * SIGMA**2))
        return sum_by(captions, penalties * cosines, len(images))

    def _idf_of_references(self, order: int) -> NDArray[np.float64]:
        """The weight of each n-gram of the references, by number."""
        postings = self._references.postings[order - 1]
        if self._frequencies is None:
            return self._log_num_images - np.log(_document_frequencies(postings))
        return self._look_up(self._references.index.ngrams(order, np.arange(postings.num_ngrams)))

    def _idf_of_captions(self, reading: Reading, order: int, ngrams: Integers) -> NDArray[np.float64]:
        """The weight of n-grams, given by number, that stand in captions."""
        of_references = self._idf[order - 1]
        known = ngrams < len(of_references)
        idf = np.full(len(ngrams), self._log_num_images)  # of one that no counted reference has
        idf[known] = of_references[ngrams[known]]
        if self._frequencies is not None:
            of_others = self._look_up(reading.new_ngrams(order))
            idf[~known] = of_others[ngrams[~known] - len(of_references)]
        return idf

    def _look_up(self, ngrams: Sequence[str]) -> NDArray[np.float64]:
        """The weight of each n-gram by the frequencies given."""
        assert self._frequencies is not None
        counts = self._frequencies.counts
        frequencies = np.fromiter((counts.get(ngram, 1) for ngram in ngrams), np.float64, len(ngrams))
        return self._log_num_images - np.log(frequencies)

    def _check_images(self, captions: Sequence[str], images: Integers) -> Integers:
        images = np.asarray(images)
        num_images = self._references.num_images
        if images.shape != (len(captions),):
            raise InputError(f"expected an image for each of {len(captions)} captions; found shape {images.shape}")
        if len(images) and not (images.dtype.kind in "iu" and images.min() >= 0 and images.max() < num_images):
            raise InputError(
                f"expected images as rows 0 to {num_images - 1} of the references; "
                f"found {images.min()} to {images.max()} of dtype {images.dtype}"
            )
        return images.astype(np.int64)


class CiderD(Cider):
    """CIDEr-D by the paper's name: the same figures as `Cider`."""

    names = ("CIDEr-D",)


def _document_frequencies(postings: Postings) -> Integers:
    """In how many images' references each n-gram stands, by number."""
    return np.bincount(postings.ngrams, minlength=postings.num_ngrams)


def _norms(captions: AnyIntegers, weights: NDArray[np.float64], num_captions: int) -> NDArray[np.float64]:
    """The length of each caption's vector, or 1 where it is 0: then there is nothing to divide."""
    norms = np.sqrt(sum_by(captions, weights**2, num_captions))
    norms[norms == 0] = 1
    return norms
