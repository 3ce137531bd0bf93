"""ROUGE-L: the longest common subsequence of a candidate and a reference.

Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", Text Summarization Branches Out; beta and
the choice among references are those of COCO's evaluation (Chen et al. 2015, arXiv:1504.00325), as in pycocoevalcap.

    P = max_j LCS(c, s_j) / |c|      R = max_j LCS(c, s_j) / |s_j|
    ROUGE-L = (1 + beta^2) P R / (R + beta^2 P)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.metric import Metric, check_candidates, check_references

BETA = 1.2


class RougeL(Metric):
    """ROUGE-L, equal to pycocoevalcap's: a corpus's is the mean of the images'.

    P and R are each the best over the references, not of one and the same. An empty caption is one token, the
    empty one, which an empty reference shares.

    Args:
        references: the tokenized references of each image.

    Raises:
        InputError: there is no image, or one has no reference.
    """

    names = ("ROUGE-L",)

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        check_references(references)
        self._references = [[reference.split(" ") for reference in group] for group in references]

    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:
        """(I, S = 2): the image's score, and 1."""
        check_candidates(candidates, len(self._references))
        scores = [
            _score(candidate.split(" "), references)
            for candidate, references in zip(candidates, self._references, strict=True)
        ]
        return np.column_stack([scores, np.ones(len(scores))])

    @staticmethod
    def figures(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., S) to (..., 1), as `Metric.figures`."""
        return totals[..., :1] / totals[..., 1:]


def _score(candidate: list[str], references: list[list[str]]) -> float:
    masks: dict[str, int] = {}  # bit i of a token's mask: it is token i of the candidate
    for place, token in enumerate(candidate):
        masks[token] = masks.get(token, 0) | 1 << place
    common = [_common_length(masks, len(candidate), reference) for reference in references]
    precision = max(common) / len(candidate)
    recall = max(length / len(reference) for length, reference in zip(common, references, strict=True))
    if precision == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_length(masks: dict[str, int], length: int, reference: list[str]) -> int:
    """Length of the longest common subsequence, a column of the table at a time.

    Bit i of `row` is 0 where the table's column rises from token i - 1 to token i of the candidate.
    Source: Hyyrö 2004, "Bit-parallel LCS-length Computation Revisited", AWOCA.
    """
    row = everything = (1 << length) - 1
    for token in reference:
        if mask := masks.get(token):
            matched = row & mask
            row = (row + matched | row - matched) & everything
    return length - row.bit_count()
