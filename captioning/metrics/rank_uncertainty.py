"""A test of the difference between two matchers' ranks.

For the interval of a difference, images are drawn with replacement, with all their queries. For its p-value, the ranks
that two matchers give to the queries of random images are exchanged. Both are as in `captioning.metrics.uncertainty`.
All ranks stay those among all items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.ranking import Retrieval, scores_of, summarize
from captioning.metrics.uncertainty import Comparison, blocks, check_replicates, ends, p_values, times_drawn

Floats = NDArray[np.float64]
Run = Mapping[str, Retrieval]
"""The ranks of one matcher by direction."""


def compare(
    first: Sequence[Run],
    second: Sequence[Run],
    generator: np.random.Generator,
    *,
    num_replicates: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Comparison]:
    """Test the difference of two matchers' scores on the same images and sentences.

    Args:
        first: the ranks of S runs of one matcher, such as with different seeds. Their scores are averaged.
        second: those of S runs of the other.
        generator: draws images, then exchanges.
        num_replicates: how often images are drawn, and how often ranks are exchanged.
        confidence: the share of replicates within the interval.

    Returns:
        By the names that `scores_of` gives: the first matcher's mean minus the second's.

    Raises:
        InputError: the numbers of runs differ or are 0, or the queries differ; or there are fewer than two replicates,
            or `confidence` is not between 0 and 1.
    """
    check_replicates(num_replicates, confidence)
    num_images = _check(first, second)

    def difference(one: Sequence[Run], other: Sequence[Run]) -> Floats:
        means = [np.mean([list(scores_of(run).values()) for run in runs], axis=0) for runs in (one, other)]
        return np.asarray(means[0] - means[1])

    def of_images(runs: Sequence[Run], times: NDArray[np.int64]) -> list[Run]:
        return [_changed(run, lambda _, found: found.ranks.repeat(times[found.images])) for run in runs]

    observed = difference(first, second)
    drawn = np.array(
        [
            difference(of_images(first, times), of_images(second, times))
            for block in times_drawn(num_images, generator, num_replicates)
            for times in block
        ]
    )
    exchanged = np.array(
        [difference(*_exchanged(first, second, own)) for own in _owners(num_images, generator, num_replicates)]
    )
    columns = zip(scores_of(first[0]), observed, *ends(drawn, confidence), p_values(exchanged, observed), strict=True)
    return {name: Comparison(*map(float, column)) for name, *column in columns}


def _owners(num_images: int, generator: np.random.Generator, num_replicates: int) -> Iterator[NDArray[np.bool_]]:
    """Yield, for each replicate, the images whose ranks are not exchanged, (I)."""
    for size in blocks(num_replicates, num_images):
        yield from generator.integers(0, 2, (size, num_images)).astype(bool)


def _exchanged(first: Sequence[Run], second: Sequence[Run], own: NDArray[np.bool_]) -> tuple[list[Run], list[Run]]:
    """Exchange the ranks of two matchers' runs, in pairs, except those of the images `own`."""

    def mixed(one: Run, other: Run) -> Run:
        return _changed(one, lambda name, found: np.where(own[found.images], found.ranks, other[name].ranks))

    pairs = list(zip(first, second, strict=True))
    return [mixed(one, other) for one, other in pairs], [mixed(other, one) for one, other in pairs]


def _changed(run: Run, ranks: Callable[[str, Retrieval], NDArray[np.int64]]) -> Run:
    return {name: summarize(ranks(name, found), found.images) for name, found in run.items()}


def _check(first: Sequence[Run], second: Sequence[Run]) -> int:
    """Check that all runs have the same queries, and return the number of images."""
    if not len(first) == len(second) > 0:
        raise InputError(f"expected as many runs of both matchers; found {len(first)} and {len(second)}")
    queries = [{name: found.images.tolist() for name, found in run.items()} for run in (*first, *second)]
    if any(others != queries[0] for others in queries):
        raise InputError("expected ranks of the same images and sentences; the runs have different ones")
    return 1 + max(int(found.images.max()) for found in first[0].values())
