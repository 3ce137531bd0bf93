"""CIDEr: the similarity of a candidate and its references by n-grams; rare n-grams have larger weights.

Source: Vedantam et al. 2015, "CIDEr: Consensus-based Image Description Evaluation", CVPR, arXiv:1411.5726. What
COCO's evaluation and this file call CIDEr is the paper's CIDEr-D. For n-grams of n words,

    g_n(c)_w = count of w in c * (log(number of images) - log(max(1, images with w in a reference)))
    CIDEr-D_n = 10 / m sum_j exp(-(l(c) - l(s_j))^2 / (2 sigma^2)) min(g_n(c), g_n(s_j)) . g_n(s_j)
                / (|g_n(c)| |g_n(s_j)|)
    CIDEr-D = mean of CIDEr-D_n over n = 1, ..., 4

Differs: as in COCO's program, counts are not divided by a caption's length, and words are not stemmed. That
program's length l counts bigrams. The difference l(c) - l(s_j) is the same in words, except for an empty caption, whose
score is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.checks import check_images
from captioning.metrics.document_frequencies import DocumentFrequencies, document_frequencies
from captioning.metrics.metric import CaptionMetric
from captioning.metrics.ngrams import (
    MAX_ORDER,
    AnyIntegers,
    Integers,
    Reading,
    ReferenceNGrams,
    ranges,
    referenced,
    sum_by,
)
from captioning.metrics.resources import Resources

SIGMA = 6.0
"""The standard deviation of the length penalty, in words."""


class Cider(CaptionMetric):
    """CIDEr, equal to pycocoevalcap's: CIDEr-D; the score of a corpus is the mean over images.

    Args:
        references: the tokenized references of each image, or their n-grams.
        frequencies: document frequencies of other references, such as a training split's. None counts these
            references, as COCO's evaluation does; a single image then scores 0.

    Raises:
        InputError: there is no image, or an image has no reference.
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

    @classmethod
    def of(cls, resources: Resources) -> Self:  # noqa: D102
        return cls(resources.ngrams, resources.frequencies)

    @property
    def num_images(self) -> int:  # noqa: D102
        return self._references.num_images

    def statistics_of(self, captions: Sequence[str], images: Integers) -> NDArray[np.float64]:
        """Count (N, S = 2): the caption's score, and 1."""
        return np.column_stack([self.rewards(captions, images), np.ones(len(captions))])

    @staticmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Divide (..., S) to (..., 1); see `Metric.scores`."""
        return totals[..., :1] / totals[..., 1:]

    def rewards(self, captions: Sequence[str], images: Integers) -> NDArray[np.float64]:
        """Score captions of any images, such as those sampled for a batch.

        Args:
            captions: (N) tokenized captions; may be empty strings.
            images: (N) the row of each caption's image in the references.

        Returns:
            (N) scores in [0, 10], as `statistics_of` counts them.

        Raises:
            InputError: the numbers of captions and images differ, or an image is not a row of the references.
        """
        images = check_images(images, len(captions), self.num_images)
        reading = self._references.index.read(captions)
        similarity = sum(self._similarity(reading, order, images) for order in range(1, MAX_ORDER + 1))
        rewards: NDArray[np.float64] = 10 / MAX_ORDER * similarity / self._references.num_references[images]
        return rewards

    def _similarity(self, reading: Reading, order: int, images: Integers) -> NDArray[np.float64]:
        """Compute CIDEr-D_n of each caption, summed over its references, without the factor of 10."""
        postings, reference_norms = self._references.postings[order - 1], self._norms[order - 1]
        captions, ngrams, counts = reading.orders[order - 1].count()
        idf = self._idf_of_captions(reading, order, ngrams)
        weights = idf * counts
        norms = _norms(captions, weights, len(images))

        found, keys = postings.find(images[captions], ngrams)
        starts, ends = postings.starts[keys], postings.starts[keys + 1]
        entries, found = ranges(starts, ends - starts), np.repeat(found, ends - starts)
        references, captions = postings.references[entries], captions[found]
        reference_weights = idf[found] * postings.counts[entries]
        products = np.minimum(weights[found], reference_weights) * reference_weights
        cosines = products / (norms[captions] * reference_norms[references])
        differences = reading.lengths[captions] - self._references.lengths[references]
        penalties = np.exp(-(differences**2) / (2 * SIGMA**2))
        return sum_by(captions, penalties * cosines, len(images))

    def _idf_of_references(self, order: int) -> NDArray[np.float64]:
        """Compute the weight of each n-gram of the references, by its number."""
        postings = self._references.postings[order - 1]
        if self._frequencies is None:
            return self._log_num_images - np.log(document_frequencies(postings))
        return self._look_up(self._references.index.ngrams(order, np.arange(postings.num_ngrams)))

    def _idf_of_captions(self, reading: Reading, order: int, ngrams: Integers) -> NDArray[np.float64]:
        """Compute the weights of n-grams of captions, which are given by number."""
        of_references = self._idf[order - 1]
        known = ngrams < len(of_references)
        idf = np.full(len(ngrams), self._log_num_images)  # of an n-gram that occurs in no reference
        idf[known] = of_references[ngrams[known]]
        if self._frequencies is not None:
            of_others = self._look_up(reading.new_ngrams(order))
            idf[~known] = of_others[ngrams[~known] - len(of_references)]
        return idf

    def _look_up(self, ngrams: Sequence[str]) -> NDArray[np.float64]:
        """Compute the weight of each n-gram from the given frequencies."""
        assert self._frequencies is not None
        counts = self._frequencies.counts
        frequencies = np.fromiter((counts.get(ngram, 1) for ngram in ngrams), np.float64, len(ngrams))
        return self._log_num_images - np.log(frequencies)


class CiderD(CaptionMetric):
    """CIDEr-D: the scores of `Cider` under the paper's name; its arguments are those of `Cider`."""

    names = ("CIDEr-D",)

    def __init__(
        self,
        references: Sequence[Sequence[str]] | ReferenceNGrams,
        frequencies: DocumentFrequencies | None = None,
    ) -> None:
        self._cider = Cider(references, frequencies)

    @classmethod
    def of(cls, resources: Resources) -> Self:  # noqa: D102
        return cls(resources.ngrams, resources.frequencies)

    @property
    def num_images(self) -> int:  # noqa: D102
        return self._cider.num_images

    def statistics_of(self, captions: Sequence[str], images: Integers) -> NDArray[np.float64]:  # noqa: D102
        return self._cider.statistics_of(captions, images)

    @staticmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: D102
        return Cider.scores(totals)


def _norms(captions: AnyIntegers, weights: NDArray[np.float64], num_captions: int) -> NDArray[np.float64]:
    """Compute the length of each caption's vector; 1 for an empty vector, so that nothing is divided by 0."""
    norms = np.sqrt(sum_by(captions, weights**2, num_captions))
    norms[norms == 0] = 1
    return norms
