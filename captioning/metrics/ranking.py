"""Retrieval by a captioner: the rank of a sentence's image, and that of an image's sentences.

Source: Mao et al. 2015, "Deep Captioning with Multimodal Recurrent Neural Networks (m-RNN)", ICLR,
arXiv:1412.6632, section on sentence generation, image retrieval and sentence retrieval. The image retrieved
for a sentence has the highest P(w | I). The sentence retrieved for an image has the highest

    P(w | I) / P(w),   P(w) = sum_I' P(w | I') P(I')                                                          (7)

with a constant P(I'). The division is needed because short and common sentences are probable with any image.

The best rank is 1. Among equal scores the wanted item comes last, so that a model that does not see the image retrieves
nothing. Scores are equal if they differ by no more than rounding (`ROUNDING`). If several items are wanted, as the
sentences of an image are, the rank is that of the best of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from captioning.errors import InputError
from captioning.metrics.uncertainty import Interval

Floats = NDArray[np.float64]

CUTOFFS = (1, 5, 10)

ROUNDING = 1e-6
"""The rounding error of a log-probability, relative to its size. Decoders compute in float32: for the same sentence and
the same features, results of batches of different sizes differ by up to 1e-7."""


@dataclass(frozen=True)
class Retrieval:
    """The ranks of the items that queries want, summarised.

    Attributes:
        recall: R@k by k, the share of queries with a rank of at most k.
        median_rank: over queries; the mean of the middle two if their number is even.
        ranks: (Q,) the rank of each query's best wanted item.
        images: (Q,) the image that each query belongs to.
    """

    recall: dict[int, float]
    median_rank: float
    ranks: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), compare=False, repr=False)
    images: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), compare=False, repr=False)

    def scores(self) -> dict[str, float]:
        """Return R@k and the median rank by name."""
        return {**{f"R@{k}": share for k, share in self.recall.items()}, "median_rank": self.median_rank}

    def intervals(
        self, generator: np.random.Generator, *, num_replicates: int = 1000, confidence: float = 0.95
    ) -> dict[str, Interval]:
        """Compute percentile intervals of `scores` from images drawn with replacement, with all their queries.

        The ranks stay those among all items.
        """
        _, rows = np.unique(self.images, return_inverse=True)
        num_images = int(rows.max()) + 1
        drawn = [
            np.bincount(generator.integers(num_images, size=num_images), minlength=num_images)[rows]
            for _ in range(num_replicates)
        ]
        replicates = [list(summarize(np.repeat(self.ranks, times), rows).scores().values()) for times in drawn]
        outside = (1 - confidence) / 2
        low, high = np.quantile(replicates, [outside, 1 - outside], axis=0)
        return {
            name: Interval(score, float(low[n]), float(high[n]))
            for n, (name, score) in enumerate(self.scores().items())
        }


def retrieve_images(log_probability: Floats, image_index: Sequence[int] | NDArray[np.int64]) -> Retrieval:
    """Rank the images for each sentence, by P(w | I).

    Args:
        log_probability: (I, N) log P(w | I) of each sentence under each image, in nats, not divided by length.
        image_index: (N) the row of each sentence's own image.

    Raises:
        InputError: shapes or indices do not match, or a score is not finite.
    """
    scores, wanted = _check(log_probability, image_index)
    return summarize(_ranks(scores.T, wanted.T, ROUNDING * np.abs(scores.T)), np.asarray(image_index))


def retrieve_sentences(
    log_probability: Floats, image_index: Sequence[int] | NDArray[np.int64], log_marginal: Floats
) -> Retrieval:
    """Rank the sentences for each image, by P(w | I) / P(w).

    Args:
        log_probability: (I, N) log P(w | I) of each sentence under each image, in nats, not divided by length.
        image_index: (N) the row of each sentence's own image; each image has at least one.
        log_marginal: (N) log P(w) of each sentence, see `marginal`.

    Raises:
        InputError: shapes or indices do not match, an image has no sentence, or a score is not finite.
    """
    scores, wanted = _check(log_probability, image_index)
    if np.shape(log_marginal) != scores.shape[1:] or not np.isfinite(log_marginal).all():
        raise InputError(
            f"expected log_marginal as {scores.shape[1]} finite numbers, one for each sentence; "
            f"found the shape {np.shape(log_marginal)}"
        )
    if without := np.count_nonzero(~wanted.any(axis=1)):
        raise InputError(f"expected a sentence for each image; {without} of {len(scores)} images have none")
    return summarize(_ranks(scores - log_marginal, wanted, ROUNDING * np.abs(scores)), np.arange(len(scores)))


def marginal(log_probability: Floats) -> Floats:
    """Estimate log P(w) of sentences, eq. 7, from equally probable images.

    Args:
        log_probability: (I, N) log P(w | I') of each sentence under each of I images: a sample of the training
            images, as in the paper, or the test images.

    Returns:
        (N) log P(w).
    """
    most = log_probability.max(axis=0)
    log_marginal: Floats = most + np.log(np.exp(log_probability - most).mean(axis=0))
    return log_marginal


def summarize(ranks: NDArray[np.int64], images: NDArray[np.int64]) -> Retrieval:
    """Compute R@k and the median of ranks, (Q,), of queries that belong to the given images, (Q,)."""
    recall = {k: float(np.mean(ranks <= k)) for k in CUTOFFS}
    return Retrieval(recall, float(np.median(ranks)), ranks, images)


def scores_of(directions: Mapping[str, Retrieval]) -> dict[str, float]:
    """Return the scores of retrieval in several directions by name, and first the mean of all recalls, `recall`."""
    recalls = [share for found in directions.values() for share in found.recall.values()]
    return {"recall": float(np.mean(recalls))} | {
        f"{direction} {name}": value
        for direction, found in directions.items()
        for name, value in found.scores().items()
    }


def _ranks(scores: Floats, wanted: NDArray[np.bool_], rounding: Floats) -> NDArray[np.int64]:
    """Compute the rank of each query's best wanted item; all arguments are (queries, items)."""
    best = np.where(wanted, scores - rounding, -np.inf).max(axis=1, keepdims=True)
    ranks: NDArray[np.int64] = 1 + np.count_nonzero(~wanted & (scores + rounding >= best), axis=1)
    return ranks


def _check(log_probability: Floats, image_index: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the scores, and for each image and sentence whether they belong together, both (I, N)."""
    scores, images = np.asarray(log_probability, np.float64), np.asarray(image_index)
    if scores.ndim != 2 or not scores.size or images.shape != scores.shape[1:]:
        raise InputError(
            "expected log_probability (images, sentences) and image_index (sentences), at least one of each; "
            f"found the shapes {scores.shape} and {images.shape}"
        )
    if images.dtype.kind not in "iu" or images.min() < 0 or images.max() >= len(scores):
        raise InputError(
            f"expected image_index as rows 0 to {len(scores) - 1} of log_probability; "
            f"found {images.min()} to {images.max()} of dtype {images.dtype}"
        )
    if wrong := np.count_nonzero(~np.isfinite(scores)):
        raise InputError(f"expected finite log-probabilities; {wrong} of {scores.size} are not")
    return scores, np.arange(len(scores))[:, None] == images
