"""The interface of every corpus metric: statistics that add up over images, and scores of any sum of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.checks import check_candidates
from captioning.metrics.resources import Resources
from captioning.metrics.tokenization import PENN_TREEBANK, Tokenizer


class Metric(ABC):
    """A corpus metric whose scores are a function of statistics that add up over images.

    It prepares the references of each image once. The scores of a corpus, of one image and of a bootstrap replicate
    are the same function of sums over different images, so that confidence intervals need no second scoring.

    Attributes:
        names: names of the J scores that it reports, such as ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4").
        mode: "max" if higher scores are better, else "min".
        tokenizer: the tokenizer whose tokens it counts. Metrics of different tokenizers are not computed together. None
            if it reads captions as they were written; it can then be computed beside any other metric.
        version: version of another program that it runs, for the signature; "" if there is none.
        signature: the line that its own program prints to be quoted; "" if there is none.
    """

    names: tuple[str, ...]
    mode: ClassVar[Literal["max", "min"]] = "max"
    tokenizer: ClassVar[Tokenizer | None] = PENN_TREEBANK
    version: str = ""
    signature: str = ""

    @classmethod
    @abstractmethod
    def of(cls, resources: Resources) -> Self:
        """Build the metric from the references, and from what else it needs."""

    @classmethod  # noqa: B027 most metrics need nothing
    def check(cls, given: Collection[str]) -> None:
        """Check that what the metric needs is there, without reading it.

        Args:
            given: the optional fields of `Resources` that `of` will be given.

        Raises:
            InputError: a file, a package or a resource is missing; the message says how to get it.
        """

    @abstractmethod
    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:
        """Count what the scores are made of.

        Args:
            candidates: one caption of each image, in the order of the references, tokenized by `tokenizer`; may be
                empty strings.

        Returns:
            (I, S) statistics, a row per image.

        Raises:
            InputError: the number of candidates is not the number of images.
        """

    @staticmethod
    @abstractmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn sums of statistics over any images into scores.

        Args:
            totals: (..., S); the sum of all rows gives the scores of the corpus.

        Returns:
            (..., J) scores in the order of `names`.
        """

    @classmethod
    def image_scores(cls, statistics: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn the statistics of each image, (I, S), into its own scores, (I, J): those of a corpus of one image."""
        return cls.scores(statistics)


class CaptionMetric(Metric):
    """A metric that scores any number of captions of any images, such as those sampled for a batch."""

    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:
        """See `Metric.statistics`."""
        check_candidates(candidates, self.num_images)
        return self.statistics_of(candidates, np.arange(self.num_images))

    @property
    @abstractmethod
    def num_images(self) -> int:
        """How many images have references."""

    @abstractmethod
    def statistics_of(self, captions: Sequence[str], images: NDArray[np.int64]) -> NDArray[np.float64]:
        """Count what the scores of captions are made of.

        Args:
            captions: (N) tokenized captions; may be empty strings.
            images: (N) the row of each caption's image in the references.

        Returns:
            (N, S) statistics, a row per caption.

        Raises:
            InputError: the numbers of captions and images differ, or an image is not a row of the references.
        """
