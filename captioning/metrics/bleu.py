"""BLEU: the share of a candidate's n-grams that occur in a reference.

Source: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL; smoothing and
reference length are those of COCO's evaluation (Chen et al. 2015, arXiv:1504.00325), as in pycocoevalcap.

    p_n   = (sum of clipped counts + TINY) / (sum of n-grams + SMALL)
    BLEU-n = min(1, exp(1 - r / c)) (p_1 ... p_n)^(1 / n)

The count of an n-gram is clipped at the largest count that a single reference has. c is the candidates' total length.
r sums, over the candidates, the length of the closest reference, the shorter one of two that are equally close.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.checks import check_images
from captioning.metrics.metric import CaptionMetric
from captioning.metrics.ngrams import MAX_ORDER, Integers, ReferenceNGrams, ranges, referenced, sum_by
from captioning.metrics.resources import Resources

TINY, SMALL = 1e-15, 1e-9
"""They prevent a division by 0; a candidate without a match scores almost 0."""


class Bleu(CaptionMetric):
    """BLEU-1 to BLEU-4, equal to pycocoevalcap's, of a corpus and of each image.

    Args:
        references: the tokenized references of each image, or their n-grams.

    Raises:
        InputError: there is no image, or an image has no reference.
    """

    names = tuple(f"BLEU-{n}" for n in range(1, MAX_ORDER + 1))

    def __init__(self, references: Sequence[Sequence[str]] | ReferenceNGrams) -> None:
        self._references = referenced(references)
        self._clips = [
            np.maximum.reduceat(postings.counts, postings.starts[:-1]) if len(postings.keys) else postings.counts
            for postings in self._references.postings
        ]

    @classmethod
    def of(cls, resources: Resources) -> Self:  # noqa: D102
        return cls(resources.ngrams)

    @property
    def num_images(self) -> int:  # noqa: D102
        return self._references.num_images

    def statistics_of(self, captions: Sequence[str], images: Integers) -> NDArray[np.float64]:
        """Count (N, S = 9): clipped counts by order, n-grams by order (the first is c), and the reference length r."""
        images = check_images(images, len(captions), self.num_images)
        reading = self._references.index.read(captions)
        matches = np.zeros((len(captions), MAX_ORDER))
        for n, (occurrences, postings, clips) in enumerate(
            zip(reading.orders, self._references.postings, self._clips, strict=True)
        ):
            candidates, ngrams, counts = occurrences.count()
            found, keys = postings.find(images[candidates], ngrams)
            clipped = np.minimum(counts[found], clips[keys])
            matches[:, n] = sum_by(candidates[found], clipped, len(captions))
        totals = np.maximum(reading.lengths[:, None] - np.arange(MAX_ORDER), 0)
        return np.column_stack([matches, totals, self._closest(reading.lengths, images)])

    @staticmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the equations above, (..., S) to (..., 4); see `Metric.scores`."""
        matches, possible, reference_length = np.split(totals, [MAX_ORDER, 2 * MAX_ORDER], axis=-1)
        precisions = (matches + TINY) / (possible + SMALL)
        means = np.cumprod(precisions, axis=-1) ** (1 / np.arange(1, MAX_ORDER + 1))
        ratio = (possible[..., :1] + TINY) / (reference_length + SMALL)
        brevity_penalty = np.exp(np.minimum(1 - 1 / ratio, 0))
        scores: NDArray[np.float64] = brevity_penalty * means
        return scores

    def _closest(self, lengths: Integers, images: Integers) -> Integers:
        """Find the reference length closest to each caption's, the shorter one of two that are equally close."""
        references = self._references
        counts = references.num_references[images]
        own = references.lengths[ranges(references.first[images], counts)]
        distances = np.abs(own - np.repeat(lengths, counts))
        base = int(references.lengths.max()) + 1  # orders by distance, then by length
        starts = counts.cumsum() - counts
        closest: Integers = (np.minimum.reduceat(distances * base + own, starts) if len(starts) else starts) % base
        return closest
