"""Compute METEOR 1.5 from statistics: counts that can be added over images.

Source: Denkowski and Lavie 2014, "Meteor Universal: Language Specific Translation Evaluation for Any Target
Language", WMT, section 2. The parameters are the jar's for English. Symbols: h is the candidate, r the reference, c
and f their content and function words, m the matched words, w the matchers' weights, ch the number of chunks.

    P = sum_i w_i (delta m_i(h_c) + (1 - delta) m_i(h_f)) / (delta |h_c| + (1 - delta) |h_f|); R likewise from r
    F_mean = P R / (alpha P + (1 - alpha) R)
    Pen = gamma (ch / m)^beta, where m is the mean number of matched words of h and r
    Score = (1 - Pen) F_mean
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError

ALPHA = 0.85  # weight of recall relative to precision
BETA = 0.2  # exponent of the fragmentation
GAMMA = 0.6  # largest penalty
DELTA = 0.75  # weight of a content word; a function word weighs 1 - DELTA
MATCHER_WEIGHTS = (1.0, 0.6, 0.8, 0.6)  # w: exact, stem, synonym, paraphrase

# The columns of statistics: words of h and r; function words of h and r; matched words, ordered by matcher, then
# content before function words, then h before r; chunks. The jar writes two more columns, the sums of the matches.
NUM_STATISTICS = 2 + 2 + 4 * len(MATCHER_WEIGHTS) + 1
_MATCHES = slice(4, NUM_STATISTICS - 1)
_CHUNKS = NUM_STATISTICS - 1


def additive(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Set the chunks of perfect matches to 0, so that statistics (..., S) of images can be added.

    The jar gives a perfect match no penalty and leaves its chunk out when it adds images.
    """
    matched = statistics[..., _MATCHES].reshape(*statistics.shape[:-1], -1, 2).sum(-2)
    perfect = (matched == statistics[..., :2]).all(-1) & (statistics[..., _CHUNKS] == 1)
    statistics = statistics.copy()
    statistics[..., _CHUNKS][perfect] = 0
    return statistics


def score(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute METEOR from the statistics of an image, or from their sum over a corpus.

    Args:
        totals: statistics (..., S) or sums of them, such as those of bootstrap samples.

    Returns:
        METEOR (...), fractions in [0, 1]; 0 if nothing matches.

    Raises:
        InputError: the length of the last axis is not S = NUM_STATISTICS.
    """
    if totals.shape[-1:] != (NUM_STATISTICS,):
        raise InputError(f"expected METEOR's statistics of shape (..., {NUM_STATISTICS}), found {totals.shape}")
    lengths, function = totals[..., 0:2], totals[..., 2:4]  # (..., h r)
    matches = totals[..., _MATCHES].reshape(*totals.shape[:-1], len(MATCHER_WEIGHTS), 2, 2)  # (..., matcher, c f, h r)

    weighted_lengths = DELTA * (lengths - function) + (1 - DELTA) * function
    weighted_matches = np.zeros_like(weighted_lengths)
    for word_weight, kind in (
        (DELTA, 0),
        (1 - DELTA, 1),
    ):  # in this order, to round as the jar does, because ties depend on it
        for matcher, matcher_weight in enumerate(MATCHER_WEIGHTS):
            weighted_matches = weighted_matches + matches[..., matcher, kind, :] * matcher_weight * word_weight

    words = matches.sum((-3, -2))  # m, unweighted
    anything = words.all(-1)
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing matches
        precision, recall = np.moveaxis(weighted_matches / weighted_lengths, -1, 0)
        f_mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragmentation = totals[..., _CHUNKS] / (words.sum(-1) / 2)
        penalty = GAMMA * np.float_power(fragmentation, BETA)  # ** rounds scalars and arrays differently
        return np.where(anything, f_mean * (1 - penalty), 0.0)
