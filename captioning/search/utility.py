"""How similar captions are to each other, by a metric: one caption is the candidate, another its only reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError, shown
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.metric import Metric
from captioning.metrics.resources import Resources
from captioning.metrics.table import METRICS

UTILITIES: Mapping[str, tuple[str, str]] = {
    "BLEU-4": ("BLEU", "BLEU-4"),
    "METEOR": ("METEOR", "METEOR"),
    "ROUGE-L": ("ROUGE-L", "ROUGE-L"),
    "CIDEr-D": ("CIDEr-D", "CIDEr-D"),
}
"""The metrics that compare two captions, by the name of the score: the name in `METRICS`, and that of the score."""


class Utility:
    """The score of a caption with another one as its only reference.

    Args:
        name: a key of `UTILITIES`.
        frequencies: in how many images each n-gram occurs, for CIDEr-D, as `DocumentFrequencies` has them. Empty for
            n-grams that all weigh the same.
        num_images: the number of these images.

    Raises:
        InputError: there is no such metric, a file that it needs is missing, or a frequency is out of range.
    """

    def __init__(self, name: str, frequencies: Mapping[str, int], num_images: int) -> None:
        if name not in UTILITIES:
            raise InputError(f"utility={shown(repr(name))}: expected one of {', '.join(UTILITIES)}")
        metric, score = UTILITIES[name]
        self._metric: type[Metric] = METRICS[metric]
        self._metric.check(())
        self._score = self._metric.names.index(score)
        self._frequencies = DocumentFrequencies(num_images, frequencies)

    def __call__(self, candidates: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
        """Score N candidates, each with its own reference, (N) float64; tokens are separated by spaces."""
        if not candidates:
            return np.zeros(0)
        each = [[reference] for reference in references]
        metric = self._metric.of(Resources(text=each, tokens=each, frequencies=self._frequencies))
        return self._metric.image_scores(metric.statistics(candidates))[:, self._score]
