"""The average precision of small, medium and large objects in a word detector's result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from captioning.metrics import Interval, word_uncertainty
from captioning.metrics.word_counts import WordCounts
from captioning.metrics.word_detection import ALL
from captioning.metrics.word_sizes import SIZES, WordSizes
from captioning.reports.result import BOOTSTRAP
from captioning.reports.scores import ScoreResult

VALUES = ("AP", "chance")
"""What the details hold of each size."""


def with_sizes(result: ScoreResult, counts: WordCounts, scores: NDArray[np.float64], sizes: WordSizes) -> ScoreResult:
    """Add to a word detector's result the mean AP and chance of the mentioned words for each size of object.

    Args:
        result: of the same split.
        counts: of I images and W words.
        scores: (I, W) the detector's.
        sizes: of the same images and words.
    """
    found = sizes.within(counts)
    settings = {key: BOOTSTRAP[key] for key in ("num_replicates", "confidence")}
    named: dict[str, Interval] = {}
    for size, own in found.items():
        generator = np.random.default_rng(BOOTSTRAP["seed"])
        means = word_uncertainty.intervals(own, scores, generator, **settings)[ALL]
        named |= {f"{value} {size}": means[value] for value in VALUES}
    return replace(
        result,
        details={**result.details, **{name: interval.score for name, interval in named.items()}},
        intervals={**result.intervals, **named},
        signature={**result.signature, "area_limits": list(sizes.limits)},
        notes=[*result.notes, *_notes(found, counts, sizes)],
    )


def _notes(found: Mapping[str, WordCounts], counts: WordCounts, sizes: WordSizes) -> Iterator[str]:
    low, high = (f"{100 * limit:.2f} %" for limit in sizes.limits)
    yield (
        f"sizes: an object is small up to {low} of the image's area, medium up to {high}, and large above; the limits "
        "are thirds of the objects that words mention"
    )
    for size, own in found.items():
        assert own.ignored is not None
        yield (
            f"AP {size}: {own.occur.sum()} words in {(own.counts > 0).sum()} pairs of an image and a word; "
            f"{own.ignored.sum()} pairs that mention no {size} object are ignored"
        )
    for size in SIZES:
        if size not in found:
            yield f"AP {size}: no word mentions a {size} object"
    mentioning = (sizes.sizes > 0).any(axis=0)
    if without := int((counts.counts[:, mentioning] > 0)[sizes.sizes[:, mentioning] == 0].sum()):
        yield f"sizes: {without} of the ignored pairs mention no object with a box, and are ignored for every size"
