"""Consensus re-ranking: choose the hypothesis that is most like the captions of similar training images.

Source: Mao et al. 2015, m-RNN (arXiv:1412.6632), section 8, after Devlin et al. 2015 (arXiv:1505.04467). With the
captions c of the k training images nearest to an image, a hypothesis h has the score

    s(h) = 1/m sum over the m captions c with the highest sim(h, c)

sim is an n-gram overlap (the paper's BLEU) or CIDEr, with h as the candidate and c as its only reference. The paper has
m = 175 for the former and 125 for the latter, with k = 60.
Differs: nearest by cosine; the official code takes the Euclidean distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.cider import Cider
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.ngrams import MAX_ORDER, NGramIndex, Occurrences

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Similarity = Callable[[Sequence[str], Sequence[str]], Floats]
"""Maps H tokenized hypotheses and C tokenized captions to the similarity of each pair, (H, C)."""

_ROWS = 256  # images that are compared together with all training images


def nearest(features: Floats, training: Floats, k: int = 60) -> Integers:
    """Find the k training images nearest to each image by the cosine of their features.

    Args:
        features: (I, F).
        training: (training images, F).
        k: the number of neighbours; all training images if there are fewer.

    Returns:
        (I, k) rows of `training`, the nearest first. Of equally near ones, the first come first.

    Raises:
        InputError: the features differ in width, or k is below 1.
    """
    if features.ndim != 2 or training.ndim != 2 or features.shape[1] != training.shape[1] or not len(training):
        raise InputError(f"expected features (I, F) of the same width F; found {features.shape} and {training.shape}")
    if k < 1:
        raise InputError(f"k={k} must be at least 1")
    to, k = _unit_rows(training).T, min(k, len(training))
    rows = [
        np.argsort(-(_unit_rows(features[start : start + _ROWS]) @ to), axis=1, kind="stable")[:, :k]
        for start in range(0, len(features), _ROWS)
    ]
    return np.concatenate(rows) if rows else np.empty((0, k), np.int64)


def consensus_scores(hypotheses: Sequence[str], captions: Sequence[str], similarity: Similarity, m: int) -> Floats:
    """Compute s(h) of the hypotheses of one image.

    Args:
        hypotheses: (H) tokenized.
        captions: (C) the tokenized captions of the nearest training images.
        similarity: such as `overlap`, or a `CiderSimilarity`.
        m: how many of the highest similarities are averaged; all if there are fewer captions.

    Returns:
        (H)

    Raises:
        InputError: there is no caption, or m is below 1.
    """
    if not captions or m < 1:
        raise InputError(f"expected captions of similar images and m of at least 1; found {len(captions)} and m={m}")
    similarities = np.sort(similarity(hypotheses, captions), axis=1)
    means: Floats = similarities[:, -m:].mean(1)
    return means


def consensus(
    hypotheses: Sequence[Sequence[str]],
    neighbours: Integers,
    captions: Sequence[Sequence[str]],
    similarity: Similarity,
    m: int,
) -> list[Floats]:
    """Compute s(h) of the hypotheses of I images. An image's best hypothesis is the `argmax` of its scores.

    Args:
        hypotheses: the tokenized hypotheses of each image.
        neighbours: (I, k) rows of the nearest training images, as `nearest` returns them.
        captions: the tokenized captions of each training image.
        similarity: see `consensus_scores`.
        m: see `consensus_scores`.

    Raises:
        InputError: the numbers of images differ, the neighbours of an image have no caption, or m is below 1.
    """
    if len(hypotheses) != len(neighbours):
        raise InputError(f"expected neighbours of each of {len(hypotheses)} images, found those of {len(neighbours)}")
    return [
        consensus_scores(own, [caption for row in rows for caption in captions[row]], similarity, m)
        for own, rows in zip(hypotheses, neighbours.tolist(), strict=True)
    ]


def overlap(hypotheses: Sequence[str], captions: Sequence[str]) -> Floats:
    """Compute the n-gram overlap of each pair, (H, C), which m-RNN's official code calls BLEU.

    It is the mean over n = 1, ..., 4 of F_n = 2 matches / (n-grams of h + n-grams of c), where matches are clipped
    counts. It is 0 if either side has fewer than four words. Unlike BLEU, it has no brevity penalty.

    Args:
        hypotheses: (H) tokenized.
        captions: (C) tokenized.
    """
    reading = NGramIndex().read([*hypotheses, *captions])
    num, lengths = len(hypotheses), reading.lengths
    total = np.zeros((num, len(captions)))
    for n, occurrences in enumerate(reading.orders, start=1):
        counts = np.maximum(lengths - n + 1, 0)
        both = counts[:num, None] + counts[num:]
        total += 2 * _matches(occurrences, num, len(captions)) / np.maximum(both, 1)
    short = lengths < MAX_ORDER
    return np.where(short[:num, None] | short[num:], 0.0, total / MAX_ORDER)


@dataclass(frozen=True)
class CiderSimilarity:
    """The CIDEr of each pair of hypothesis and caption, as if the caption were the only reference.

    Attributes:
        frequencies: document frequencies of the training images' captions.
    """

    frequencies: DocumentFrequencies

    def __call__(self, hypotheses: Sequence[str], captions: Sequence[str]) -> Floats:
        """Compute (H, C)."""
        cider = Cider([[caption] for caption in captions], self.frequencies)
        pairs = [hypothesis for hypothesis in hypotheses for _ in captions]
        scores = cider.rewards(pairs, np.tile(np.arange(len(captions)), len(hypotheses)))
        return scores.reshape(len(hypotheses), len(captions))


def _matches(occurrences: Occurrences, num_hypotheses: int, num_captions: int) -> Floats:
    """Sum the clipped counts of the n-grams of each pair, (H, C)."""
    sentences, ngrams, counts = occurrences.count()
    ends = np.searchsorted(sentences, np.arange(num_hypotheses + 1))
    of_captions = np.arange(ends[-1], len(sentences))
    matches = np.zeros((num_hypotheses, num_captions))
    for h, (start, end) in enumerate(pairwise(ends.tolist())):
        own = np.zeros(occurrences.num_ngrams, np.int64)
        own[ngrams[start:end]] = counts[start:end]
        clipped = np.minimum(own[ngrams[of_captions]], counts[of_captions])
        matches[h] = np.bincount(sentences[of_captions] - num_hypotheses, clipped, minlength=num_captions)
    return matches


def _unit_rows(features: Floats) -> Floats:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Floats = features / np.where(norms == 0, 1, norms)
    return unit
