"""Confidence intervals of a corpus's scores, and tests of the difference between two systems.

A test set is a sample of images, and its scores estimate those on all images of its kind. Images are resampled from
the statistics of a `Metric`, a row per image, so that no caption is scored twice. CIDEr's document frequencies stay
those of all images of the test set.

Sources: Efron and Tibshirani 1993, "An Introduction to the Bootstrap" (percentile intervals); Koehn 2004,
"Statistical Significance Tests for Machine Translation Evaluation", EMNLP (paired bootstrap); Riezler and Maxwell
2005, "On Some Pitfalls in Automatic Evaluation and Significance Testing for MT", ACL workshop (approximate
randomization). A p-value is (count + 1) / (replicates + 1), where count is the number of resampled differences at least
as large as the observed one, as in Riezler and Maxwell and in sacreBLEU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.metric import Metric

Floats = NDArray[np.float64]

ROUNDING = 1e-12
"""Scores that differ by less are equal: sums in another order differ in the last digits."""

_BLOCK = 2**22
"""Numbers drawn at a time (32 MB), for any number of images and replicates."""


@dataclass(frozen=True)
class Interval:
    """A corpus score with a bootstrap confidence interval over images.

    It is a percentile interval for the score of the system on all images of the kind that the test set is a sample of.
    It does not predict the score on another sample, which varies about that score as well.

    Attributes:
        score: the score on the test set.
        low: lower end of the interval.
        high: upper end.
    """

    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The difference of two systems' scores on the same images.

    Attributes:
        difference: the first system's score minus the second's, on all images.
        low: lower end of the difference's confidence interval.
        high: upper end.
        p_value: two-sided: the probability of a difference at least as large, in either direction, for equal systems.
    """

    difference: float
    low: float
    high: float
    p_value: float


def bootstrap(
    metric: Metric | type[Metric],
    statistics: Floats,
    generator: np.random.Generator,
    *,
    num_replicates: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Compute percentile intervals of a corpus's scores, from images drawn with replacement.

    Args:
        metric: computes scores from the statistics.
        statistics: (I, S) what `metric.statistics` counted.
        generator: draws the images; with the same seed it draws the same images for every metric.
        num_replicates: how often I images are drawn.
        confidence: the share of replicates within the interval.

    Returns:
        By the names of the metric's scores.

    Raises:
        InputError: there is no image, there are fewer than two replicates, or `confidence` is not between 0 and 1.
    """
    _check_statistics(statistics)
    check_replicates(num_replicates, confidence)
    scores = metric.scores(statistics.sum(axis=0))
    replicates = metric.scores(_resample(statistics, generator, num_replicates))
    low, high = ends(replicates, confidence)
    return {name: Interval(*map(float, ends)) for name, *ends in zip(metric.names, scores, low, high, strict=True)}


def approximate_randomization(
    metric: Metric | type[Metric],
    first: Floats,
    second: Floats,
    generator: np.random.Generator,
    *,
    num_replicates: int = 10_000,
    confidence: float = 0.95,
) -> dict[str, Comparison]:
    """Test the difference of two systems by exchanging their captions of random images.

    If both are equally good, it does not matter which one a caption is from. The p-value is the share of exchanges
    after which the difference is at least as large. Riezler and Maxwell find that the bootstrap reports a difference
    where there is none more often than this test. The interval is that of a paired bootstrap: of the difference on
    images drawn with replacement, the same ones for both.

    Args:
        metric: computes scores from the statistics.
        first: (I, S) what `metric.statistics` counted for one system.
        second: (I, S) the same for the other, rows of the same images.
        generator: draws exchanges, then images.
        num_replicates: how often captions are exchanged, and how often images are drawn.
        confidence: the share of replicates within the interval.

    Returns:
        By the names of the metric's scores.

    Raises:
        InputError: the shapes differ, there is no image, there are fewer than two replicates, or `confidence` is not
            between 0 and 1.
    """
    _check_statistics(first, second)
    check_replicates(num_replicates, confidence)
    gain = first - second
    exchanged = np.concatenate(
        [generator.integers(0, 2, (size, len(gain))) @ gain for size in blocks(num_replicates, len(gain))]
    )
    without = metric.scores(first.sum(axis=0) - exchanged) - metric.scores(second.sum(axis=0) + exchanged)
    observed, replicates = _differences(metric, first, second, generator, num_replicates)
    return _comparisons(metric, observed, replicates, p_values(without, observed), confidence)


def _differences(
    metric: Metric | type[Metric], first: Floats, second: Floats, generator: np.random.Generator, num_replicates: int
) -> tuple[Floats, Floats]:
    """Compute the difference of the scores on all images (J), and on those drawn (replicates, J)."""
    both = np.concatenate([first, second], axis=1)  # the same images for both
    totals = np.concatenate([both.sum(axis=0, keepdims=True), _resample(both, generator, num_replicates)])
    of_first, of_second = np.split(totals, 2, axis=1)
    differences = metric.scores(of_first) - metric.scores(of_second)
    return differences[0], differences[1:]


def _resample(statistics: Floats, generator: np.random.Generator, num_replicates: int) -> Floats:
    """Sum the statistics of I images drawn with replacement: (replicates, S)."""
    return np.concatenate([times @ statistics for times in times_drawn(len(statistics), generator, num_replicates)])


def times_drawn(num_images: int, generator: np.random.Generator, num_replicates: int) -> Iterator[NDArray[np.int64]]:
    """Draw I images with replacement, and yield how often each is drawn: (replicates, I), in blocks of replicates."""
    for size in blocks(num_replicates, num_images):
        drawn = generator.integers(num_images, size=(size, num_images))
        cells = drawn + num_images * np.arange(size)[:, None]
        yield np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape)


def blocks(num_replicates: int, width: int) -> Iterator[int]:
    """Yield the sizes of blocks of replicates that fit into memory, if each replicate takes `width` numbers."""
    size = max(_BLOCK // width, 1)
    for start in range(0, num_replicates, size):
        yield min(size, num_replicates - start)


def p_values(null: Floats, observed: Floats) -> Floats:
    """Compute the share of the differences in `null`, (replicates, J), that are as large as the observed ones, (J)."""
    as_large = np.abs(null) >= np.abs(observed) - ROUNDING
    p_values: Floats = (as_large.sum(axis=0) + 1) / (len(null) + 1)
    return p_values


def _comparisons(
    metric: Metric | type[Metric], observed: Floats, replicates: Floats, p_values: Floats, confidence: float
) -> dict[str, Comparison]:
    columns = zip(metric.names, observed, *ends(replicates, confidence), p_values, strict=True)
    return {name: Comparison(*map(float, column)) for name, *column in columns}


def ends(replicates: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Compute the ends, (J) each, between which the given share of replicates lies."""
    outside = (1 - confidence) / 2
    low, high = np.quantile(replicates, [outside, 1 - outside], axis=0)
    return low, high


def check_replicates(num_replicates: int, confidence: float) -> None:
    """Check the settings of resampling.

    Raises:
        InputError: there are fewer than two replicates, or `confidence` is not between 0 and 1.
    """
    if num_replicates < 2:
        raise InputError(f"expected at least 2 replicates, better 1000; found num_replicates={num_replicates}")
    if not 0 < confidence < 1:
        raise InputError(f"expected a confidence between 0 and 1, such as 0.95; found {confidence}")


def _check_statistics(*statistics: Floats) -> None:
    shapes = {table.shape for table in statistics}
    if len(shapes) > 1 or any(table.ndim != 2 or not len(table) for table in statistics):
        raise InputError(
            "expected statistics (I, S) of at least one image, for two systems those of the same images; "
            f"found the shapes {', '.join(str(table.shape) for table in statistics)}"
        )
