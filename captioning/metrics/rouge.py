"""ROUGE-L: the length of the longest common subsequence of a candidate and a reference.

Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", Text Summarization Branches Out; beta and
the choice among references are those of COCO's evaluation (Chen et al. 2015, arXiv:1504.00325), as in pycocoevalcap.

    P = max_j LCS(c, s_j) / |c|      R = max_j LCS(c, s_j) / |s_j|
    ROUGE-L = (1 + beta^2) P R / (R + beta^2 P)
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import truediv
from typing import Self

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.checks import check_images, check_references
from captioning.metrics.metric import CaptionMetric
from captioning.metrics.resources import Resources

BETA = 1.2


class RougeL(CaptionMetric):
    """ROUGE-L, equal to pycocoevalcap's; the score of a corpus is the mean over images.

    P and R are each the best over the references, not necessarily of the same one. An empty caption counts as one
    empty token, which matches that of an empty reference.

    Args:
        references: the tokenized references of each image.

    Raises:
        InputError: there is no image, or an image has no reference.
    """

    names = ("ROUGE-L",)

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        check_references(references)
        self._references = [[reference.split(" ") for reference in group] for group in references]

    @classmethod
    def of(cls, resources: Resources) -> Self:  # noqa: D102
        return cls(resources.tokens)

    @property
    def num_images(self) -> int:  # noqa: D102
        return len(self._references)

    def statistics_of(self, captions: Sequence[str], images: NDArray[np.int64]) -> NDArray[np.float64]:
        """Count (N, S = 2): the caption's score, and 1."""
        rows = check_images(images, len(captions), self.num_images).tolist()
        scores = [
            _score(caption.split(" "), self._references[row]) for caption, row in zip(captions, rows, strict=True)
        ]
        return np.column_stack([scores, np.ones(len(scores))])

    @staticmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Divide (..., S) to (..., 1); see `Metric.scores`."""
        return totals[..., :1] / totals[..., 1:]


def _score(candidate: list[str], references: list[list[str]]) -> float:
    masks: dict[str, int] = {}  # bit i of a token's mask is 1 if token i of the candidate is this token
    for i, token in enumerate(candidate):
        masks[token] = masks.get(token, 0) | 1 << i
    common = [_common_length(masks, len(candidate), reference) for reference in references]
    precision = max(common) / len(candidate)
    recall: float = max(map(truediv, common, map(len, references)))
    if precision == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_length(masks: dict[str, int], length: int, reference: list[str]) -> int:
    """Compute the length of the longest common subsequence, one column of the table at a time.

    Bit i of `row` is 0 where the table's column rises from token i - 1 to token i of the candidate.
    Source: Hyyrö 2004, "Bit-parallel LCS-length Computation Revisited", AWOCA.
    """
    row = everything = (1 << length) - 1
    for mask in filter(None, map(masks.get, reference)):  # of each token of the reference that the candidate has
        matched = row & mask
        row = (row + matched | row - matched) & everything
    return length - row.bit_count()
