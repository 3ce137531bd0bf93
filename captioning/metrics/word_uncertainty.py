"""Confidence intervals of word detectors' mean scores, and a test of the difference between two detectors.

Images are drawn with replacement, and all words are scored on each sample. A word counts in no mean of a sample that
does not have it, as in `WordTable.means`. A sample that has no word of a class does not count for that class.

An average precision is no sum over images, and two detectors' scores need not have the same scale. Their outputs can
therefore not be exchanged as in `captioning.metrics.uncertainty`, and they are compared by a paired bootstrap.

Sources: Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP (paired bootstrap);
Riezler and Maxwell 2005, "On Some Pitfalls in Automatic Evaluation and Significance Testing for MT", ACL workshop (its
p-value: the share of samples whose difference is at least as far from the samples' mean as the observed one is from 0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.uncertainty import Comparison, Interval, check_replicates, ends, p_values, times_drawn
from captioning.metrics.word_counts import WordCounts
from captioning.metrics.word_detection import (
    AGREEMENT,
    DETECTION,
    agreement,
    check_scores,
    detections,
    rows_of_classes,
)

Floats = NDArray[np.float64]

_AT_ONCE = 1000
"""Samples of which all words' values are in memory (40 MB for 1,000 words)."""


def intervals(
    counts: WordCounts,
    scores: Floats,
    generator: np.random.Generator,
    *,
    classes: Mapping[str, str] | None = None,
    num_replicates: int = 1000,
    confidence: float = 0.95,
) -> dict[str, dict[str, Interval]]:
    """Compute percentile intervals of a detector's mean scores, and of those of people and chance.

    Args:
        counts: of I images and W words.
        scores: (I, W) the detector's.
        generator: draws the images.
        classes: the class of each word; see `WordTable.means`.
        num_replicates: how often I images are drawn.
        confidence: the share of replicates within the interval.

    Returns:
        By class, then by the name of the value. `Interval.score` is the mean that `WordTable.means` returns.

    Raises:
        InputError: see `evaluate`; or there are fewer than two replicates, or `confidence` is not between 0 and 1, or
            no replicate has a word of a class.
    """
    occurring, scores = counts.counts[:, counts.occur], check_scores(counts, scores)[:, counts.occur]

    def values(times: Floats) -> Floats:
        return np.concatenate([detections(occurring, scores, times), agreement(occurring, times)])

    sampled = _sample(values, counts, classes, generator, num_replicates, confidence)
    return {
        name: {
            value: Interval(float(score), *map(float, ends(replicates, confidence)))
            for value, score, replicates in zip(DETECTION + AGREEMENT, observed, found, strict=True)
        }
        for name, observed, found in sampled
    }


def compare(
    counts: WordCounts,
    first: Floats,
    second: Floats,
    generator: np.random.Generator,
    *,
    classes: Mapping[str, str] | None = None,
    num_replicates: int = 1000,
    confidence: float = 0.95,
) -> dict[str, dict[str, Comparison]]:
    """Test the difference of two detectors' mean scores, on the same samples for both.

    Args:
        counts: of I images and W words.
        first: (I, W) one detector's scores.
        second: (I, W) the other's.
        generator: draws the images.
        classes: the class of each word; see `WordTable.means`.
        num_replicates: how often I images are drawn.
        confidence: the share of replicates within the interval.

    Returns:
        By class, then by the names in `DETECTION`: the first detector's mean minus the second's.

    Raises:
        InputError: as for `intervals`.
    """
    first, second = (check_scores(counts, scores)[:, counts.occur] for scores in (first, second))
    occurring = counts.counts[:, counts.occur]

    def values(times: Floats) -> Floats:
        return detections(occurring, first, times) - detections(occurring, second, times)

    return {
        name: {
            value: _comparison(difference, replicates, confidence)
            for value, difference, replicates in zip(DETECTION, observed, found, strict=True)
        }
        for name, observed, found in _sample(values, counts, classes, generator, num_replicates, confidence)
    }


def _comparison(difference: np.float64, replicates: Floats, confidence: float) -> Comparison:
    low, high = ends(replicates, confidence)
    p_value = p_values(replicates - replicates.mean(), np.array(difference))
    return Comparison(float(difference), float(low), float(high), float(p_value))


def _sample(
    values: Callable[[Floats], Floats],
    counts: WordCounts,
    classes: Mapping[str, str] | None,
    generator: np.random.Generator,
    num_replicates: int,
    confidence: float,
) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield the name of each class, its J means on all images (J), and on samples that have a word of it (J, samples).

    Args:
        values: maps how often each image is in each sample, (I, B), to the values of the words that occur, (J, W, B).
        counts: of all words.
        classes: of the words.
        generator: draws the images.
        num_replicates: how often I images are drawn.
        confidence: the share of replicates within an interval, to be checked.
    """
    check_replicates(num_replicates, confidence)
    rows, num_images = rows_of_classes(tuple(compress(counts.words, counts.occur)), classes), len(counts.counts)
    observed = _means(values(np.ones((num_images, 1))), rows)[..., 0]
    means = []
    for block in times_drawn(num_images, generator, num_replicates):
        for start in range(0, len(block), _AT_ONCE):
            times = np.ascontiguousarray(block[start : start + _AT_ONCE].T, np.float64)
            means.append(_means(values(times), rows))
    for name, score, found in zip(rows, observed, np.concatenate(means, axis=-1), strict=True):
        defined = found[:, ~np.isnan(found).any(axis=0)]
        if not defined.size:
            raise InputError(
                f"none of {num_replicates} samples of the images has a word of the class '{name}'; draw more, "
                "such as num_replicates=1000"
            )
        yield name, score, defined


def _means(values: Floats, rows: Mapping[str, list[int]]) -> Floats:
    """Average the values of the words that a sample has, (J, W, B), over each class: (G, J, B); NaN if it has none."""
    has = ~np.isnan(values)
    sums = np.stack([np.where(has[:, of], values[:, of], 0).sum(axis=1) for of in rows.values()])
    numbers = np.stack([has[:, of].sum(axis=1) for of in rows.values()])
    means: Floats = np.divide(sums, numbers, out=np.full(sums.shape, np.nan), where=numbers > 0)
    return means
