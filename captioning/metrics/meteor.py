"""METEOR of a corpus and of each image, without Java."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.meteor_universal import MeteorUniversal
from captioning.metrics.meteor_universal.score import score
from captioning.metrics.metric import Metric, check_references


class Meteor(Metric):
    """METEOR 1.5, equal to pycocoevalcap's; a corpus's comes from summed statistics, not from a mean.

    Source: Denkowski and Lavie 2014, "Meteor Universal: Language Specific Translation Evaluation for Any Target
    Language", WMT.

    Args:
        references: the tokenized references of each image.

    Raises:
        InputError: pycocoevalcap's word lists are missing or damaged; there is no image, or one has no reference.
    """

    names = ("METEOR",)

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        check_references(references)
        self._references, self._universal = references, MeteorUniversal()

    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:  # noqa: D102
        return self._universal.statistics(candidates, self._references)

    @staticmethod
    def figures(totals: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: D102
        return score(totals)[..., None]
