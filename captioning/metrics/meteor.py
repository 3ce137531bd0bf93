"""METEOR of a corpus and of each image, without Java."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pycocoevalcap.meteor import meteor as reference

from captioning.metrics.checks import check_references
from captioning.metrics.meteor_universal import MeteorUniversal
from captioning.metrics.meteor_universal.score import score
from captioning.metrics.metric import Metric
from captioning.metrics.originals import java
from captioning.metrics.resources import Resources


class Meteor(Metric):
    """METEOR 1.5, equal to pycocoevalcap's; the score of a corpus comes from summed statistics and is not a mean.

    Source: Denkowski and Lavie 2014, "Meteor Universal: Language Specific Translation Evaluation for Any Target
    Language", WMT.

    Args:
        references: the tokenized references of each image.

    Raises:
        InputError: pycocoevalcap's word lists are missing or damaged. There is no image, or an image has no reference.
    """

    names = ("METEOR",)

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        check_references(references)
        self._references, self._universal = references, universal()

    @classmethod
    def of(cls, resources: Resources) -> Self:  # noqa: D102
        return cls(resources.tokens)

    @classmethod
    def check(cls, given: Collection[str]) -> None:  # noqa: ARG003, D102
        for name in (reference.METEOR_JAR, "data/paraphrase-en.gz"):
            java.file_beside(reference, name)

    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:  # noqa: D102
        return self._universal.statistics(candidates, self._references)

    @staticmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: D102
        return score(totals)[..., None]


@cache
def universal() -> MeteorUniversal:
    """Read the word lists once per process: they are the same for all references."""
    return MeteorUniversal()
