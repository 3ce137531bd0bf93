"""The sixteen features by which Fang et al. 2015 (arXiv:1411.4952) re-rank the sentences of an image.

The list is as remembered; it was not checked against the paper's text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError

MOST_SAID = 10
"""The largest number of detected words that has a feature."""

FEATURES = (
    "log_likelihood",
    "length",
    "log_likelihood_per_word",
    "log_rank",
    *(f"says_{x}" for x in range(MOST_SAID + 1)),
    "similarity",
)
"""The names of the sixteen features, in order."""


def sentence_features(
    log_likelihoods: Sequence[float], lengths: Sequence[int], said: Sequence[int], similarities: Sequence[float]
) -> NDArray[np.float64]:
    """Compute the features of the sentences of one image.

    1. the log-likelihood
    2. the length in words
    3. the log-likelihood per word
    4. the logarithm of the sentence's rank by log-likelihood, from 1, among the sentences of the image
    5. to 15. 1 if the sentence says exactly x detected words, else 0; for x = 0, ..., 10
    16. the similarity of image and sentence

    Args:
        log_likelihoods: (M) log-probabilities, in nats. Among equal ones, the first has the lower rank.
        lengths: (M) words. The log-likelihood per word of a sentence without words is its log-likelihood.
        said: (M) the number of detected words that each sentence says; see `words_said`.
        similarities: (M) of image and sentence, by a matcher such as the DMSM.

    Returns:
        (M, 16) in the order of `FEATURES`.

    Raises:
        InputError: the arguments have different lengths.
    """
    counts = tuple(map(len, (log_likelihoods, lengths, said, similarities)))
    if len(set(counts)) > 1:
        raise InputError(
            f"expected a log-likelihood, a length, a count and a similarity of each sentence; found {counts}"
        )
    likelihood, length = np.asarray(log_likelihoods, np.float64), np.asarray(lengths, np.float64)
    rank = np.empty(len(likelihood))
    rank[np.argsort(-likelihood, kind="stable")] = np.arange(1, len(likelihood) + 1)
    says = np.asarray(said, np.int64)[:, None] == np.arange(MOST_SAID + 1)
    per_word = likelihood / np.maximum(length, 1)
    return np.column_stack([likelihood, length, per_word, np.log(rank), says, np.asarray(similarities, np.float64)])


def words_said(sentence: Sequence[str], detected: Collection[str]) -> int:
    """Count the detected words of an image that a sentence says; a word that it says twice counts once."""
    return len(set(sentence) & set(detected))
