"""What every corpus metric is: statistics that add up over images, and figures of a sum of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError


class Metric(ABC):
    """A corpus metric made of statistics that add up over images.

    It is constructed with the references of each image, tokenized captions (tokens joined by one space), and
    prepares them once. The figures of a corpus, of one image and of a bootstrap replicate are the same function of
    sums over different images, so nothing is counted twice to know how far a figure is to be trusted.

    Attributes:
        names: what it reports, such as ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"); J of them.
        version: of the program of others that it runs; "" where it runs none.
    """

    names: tuple[str, ...]
    version: str = ""

    @abstractmethod
    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:
        """Count what the figures are made of.

        Args:
            candidates: one tokenized caption an image, in the order of the references; may be empty strings.

        Returns:
            (I, S) statistics, a row an image.

        Raises:
            InputError: not one candidate for each image.
        """

    @staticmethod
    @abstractmethod
    def figures(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn statistics, summed over any images, into figures.

        Args:
            totals: (..., S): the sum of all rows gives the corpus's figures, a row alone those of its image.

        Returns:
            (..., J) figures in the order of `names`.
        """


def check_references(references: Sequence[Sequence[str]]) -> None:
    """Check that there are images, each with a reference.

    Raises:
        InputError: there is no image, an image has no reference, or its references are one string.
    """
    if not references:
        raise InputError("expected the references of at least one image, found none")
    if wrong := [row for row, group in enumerate(references) if isinstance(group, str) or not group]:
        raise InputError(
            f"expected a list of at least one reference for each of {len(references)} images; "
            f"not so for {len(wrong)} of them, the first in row {wrong[0]}"
        )


def check_candidates(candidates: Sequence[str], num_expected: int) -> None:
    """Check that there is a candidate for each image.

    Raises:
        InputError: there are more or fewer, or they are one string.
    """
    if isinstance(candidates, str) or len(candidates) != num_expected:
        found = "one string" if isinstance(candidates, str) else len(candidates)
        raise InputError(f"expected a list of {num_expected} candidates, one for each image; found {found}")
