"""A metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.checks import check_candidates
from captioning.metrics.metric import Metric
from captioning.metrics.resources import Resources


class WordRecall(Metric):
    """The share of the references' different words that the captions contain."""

    names = ("WordRecall",)

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self._words = [{word for reference in group for word in reference.split()} for group in references]

    @classmethod
    def of(cls, resources: Resources) -> Self:
        """Build the metric from tokenized references."""
        return cls(resources.tokens)

    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:
        """Count (I, S = 2): words that were found, and all words."""
        check_candidates(candidates, len(self._words))
        pairs = zip(self._words, candidates, strict=True)
        return np.array([[len(words & set(caption.split())), len(words)] for words, caption in pairs], dtype=np.float64)

    @staticmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Divide (..., S) to (..., 1)."""
        return totals[..., :1] / np.maximum(totals[..., 1:], 1)
