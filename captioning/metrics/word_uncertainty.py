"""Confidence intervals of word detectors' mean scores, and a test of the difference between two detectors.

Images are drawn with replacement, and all words are scored on each sample. A word counts in no mean of a sample that
does not have it, as in `WordTable.means`. A sample that has no word of a class does not count for that class.

Most words are rare, and a sample has some of their images several times and others not at all. This shifts the means,
often by more than they vary. So an interval is the score plus the samples' deviations from their own mean.

The test exchanges what two detectors say about random images, as `captioning.metrics.uncertainty` exchanges captions:
approximate randomization, after Riezler and Maxwell 2005, "On Some Pitfalls in Automatic Evaluation and Significance
Testing for MT", ACL workshop. Two detectors' scores need not have the same scale, so the ranks of the images are
exchanged, separately for each word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.uncertainty import (
    Comparison,
    Interval,
    blocks,
    check_replicates,
    ends,
    p_values,
    times_drawn,
)
from captioning.metrics.word_counts import WordCounts
from captioning.metrics.word_detection import (
    AGREEMENT,
    DETECTION,
    Times,
    agreement,
    check_scores,
    detections,
    rows_of_classes,
)

Floats = NDArray[np.float64]
Rows = Mapping[str, list[int]]


def intervals(
    counts: WordCounts,
    scores: Floats,
    generator: np.random.Generator,
    *,
    classes: Mapping[str, str] | None = None,
    num_replicates: int = 1000,
    confidence: float = 0.95,
) -> dict[str, dict[str, Interval]]:
    """Compute bootstrap intervals of a detector's mean scores, and of those of people and chance.

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
    check_replicates(num_replicates, confidence)
    scores = check_scores(counts, scores)[:, counts.occur]
    occurring, rows = counts.occurring, _rows(counts, classes)

    def means(times: Times) -> Floats:
        return _means(np.concatenate([detections(occurring, scores, times), agreement(occurring, times)]), rows)

    return {
        name: {
            value: Interval(float(score), *_ends(score, replicates, confidence))
            for value, score, replicates in zip(DETECTION + AGREEMENT, observed, found, strict=True)
        }
        for name, observed, found in _bootstrap(means, rows, scores.shape, generator, num_replicates)
    }


def compare(
    counts: WordCounts,
    first: Sequence[Floats],
    second: Sequence[Floats],
    generator: np.random.Generator,
    *,
    classes: Mapping[str, str] | None = None,
    num_replicates: int = 1000,
    confidence: float = 0.95,
) -> dict[str, dict[str, Comparison]]:
    """Test the difference of two detectors' mean scores on the same images.

    The p-value is the share of exchanges after which the difference is at least as large. The interval is that of a
    paired bootstrap: of the difference on images drawn with replacement, the same ones for both.

    Args:
        counts: of I images and W words.
        first: the scores of S runs of one detector, such as with different seeds, (I, W) each. Means are averaged.
        second: those of S runs of the other.
        generator: draws images, then exchanges.
        classes: the class of each word; see `WordTable.means`.
        num_replicates: how often images are drawn, and how often ranks are exchanged.
        confidence: the share of replicates within the interval.

    Returns:
        By class, then by the names in `DETECTION`: the first detector's mean minus the second's.

    Raises:
        InputError: as for `intervals`; or the numbers of runs differ or are 0.
    """
    check_replicates(num_replicates, confidence)
    if not len(first) == len(second) > 0:
        raise InputError(f"expected as many runs of both detectors; found {len(first)} and {len(second)}")
    one, other = ([check_scores(counts, s)[:, counts.occur] for s in runs] for runs in (first, second))
    occurring, rows = counts.occurring, _rows(counts, classes)

    def difference(times: Times) -> Floats:
        return _means(_detected(occurring, one, times) - _detected(occurring, other, times), rows)

    resampled = _bootstrap(difference, rows, one[0].shape, generator, num_replicates)
    comparisons: dict[str, dict[str, Comparison]] = {}
    for (name, observed, drawn), exchanged in zip(
        resampled, _exchange(occurring, one, other, rows, generator, num_replicates), strict=True
    ):
        p = p_values(exchanged.T, observed)
        comparisons[name] = {
            value: Comparison(float(observed[j]), *_ends(observed[j], drawn[j], confidence), float(p[j]))
            for j, value in enumerate(DETECTION)
        }
    return comparisons


def _bootstrap(
    means: Callable[[Times], Floats],
    rows: Rows,
    shape: tuple[int, ...],
    generator: np.random.Generator,
    num_replicates: int,
) -> list[tuple[str, Floats, Floats]]:
    """Return the name of each class, its J means on all images (J), and on samples that have a word of it (J, samples).

    Args:
        means: maps how often each image is in each sample, (I, B), to J means of each class, (G, J, B).
        rows: those of each class's words.
        shape: the numbers of images and of words.
        generator: draws the images.
        num_replicates: how often I images are drawn.
    """
    num_images, num_words = shape
    width = max(num_images, len(DETECTION + AGREEMENT) * num_words)
    found = np.concatenate(
        [
            means(np.ascontiguousarray(times.T, np.float32))
            for size in blocks(num_replicates, width)
            for times in times_drawn(num_images, generator, size)
        ],
        axis=-1,
    )
    results = []
    for name, observed, drawn in zip(rows, means(np.ones((num_images, 1), np.float32))[..., 0], found, strict=True):
        defined = drawn[:, ~np.isnan(drawn).any(axis=0)]
        if not defined.size:
            raise InputError(
                f"none of {num_replicates} samples of the images has a word of the class '{name}'; draw more, "
                "such as num_replicates=1000"
            )
        results.append((name, observed, defined))
    return results


def _exchange(
    counts: WordCounts,
    first: Sequence[Floats],
    second: Sequence[Floats],
    rows: Rows,
    generator: np.random.Generator,
    num_replicates: int,
) -> Floats:
    """Compute the differences of two detectors' means after exchanges of their ranks of random images.

    Both detectors' ranks are one ranking of 2 I rows. Each system has one of the two rows of each image. Runs are
    exchanged in pairs, and in all pairs the same images.

    Returns:
        (G, 2, replicates).
    """
    c, ignored = counts.counts, counts.ignored
    twice = None if ignored is None else np.concatenate([ignored, ignored])
    both = WordCounts(counts.words, np.concatenate([c, c]), twice)
    ranks = [np.concatenate([_ranks(scores, ignored) for scores in pair]) for pair in zip(first, second, strict=True)]
    differences = []
    for size in blocks(num_replicates, max(2 * len(c), 2 * len(DETECTION) * len(counts.words))):
        own = generator.integers(0, 2, (size, len(c))).T.astype(np.float32)
        one, other = np.concatenate([own, 1 - own]), np.concatenate([1 - own, own])
        differences.append(_means(_detected(both, ranks, one) - _detected(both, ranks, other), rows))
    return np.concatenate(differences, axis=-1)


def _detected(counts: WordCounts, runs: Sequence[Floats], times: Times) -> Floats:
    """Average AP and PHR of words over a detector's runs, (2, W, B)."""
    total = sum((detections(counts, scores, times) for scores in runs[1:]), detections(counts, runs[0], times))
    return np.asarray(total / len(runs))


def _ranks(scores: Floats, ignored: NDArray[np.bool_] | None) -> Floats:
    """Rank the images for each word, (I, W), from 1 for the lowest score; equal scores have their mean rank.

    Ignored images have no rank, and are 0.
    """
    ranks = np.zeros_like(scores)
    for word, column in enumerate(scores.T):
        rows = slice(None) if ignored is None else ~ignored[:, word]
        _, values, numbers = np.unique(column[rows], return_inverse=True, return_counts=True)
        ranks[rows, word] = (numbers.cumsum() - (numbers - 1) / 2)[values]
    return ranks


def _rows(counts: WordCounts, classes: Mapping[str, str] | None) -> Rows:
    return rows_of_classes(counts.occurring.words, classes)


def _means(values: Floats, rows: Rows) -> Floats:
    """Average the values of the words that a sample has, (J, W, B), over each class: (G, J, B); NaN if it has none."""
    has = ~np.isnan(values)
    sums = np.stack([np.where(has[:, of], values[:, of], 0).sum(axis=1) for of in rows.values()])
    numbers = np.stack([has[:, of].sum(axis=1) for of in rows.values()])
    means: Floats = np.divide(sums, numbers, out=np.full(sums.shape, np.nan), where=numbers > 0)
    return means


def _ends(score: np.float64, replicates: Floats, confidence: float) -> tuple[float, float]:
    """Return the ends of the interval of the score plus the replicates' deviations from their mean."""
    low, high = score + np.stack(ends(replicates - replicates.mean(), confidence))
    return float(low), float(high)
