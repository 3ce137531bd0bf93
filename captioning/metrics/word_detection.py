"""Average precision of word detectors against five references, and the precision of people.

Source: Fang et al. 2015, "From Captions to Visual Concepts and Back", CVPR, arXiv:1411.4952; the equations are those of
the official code (s-gupta/visual-concepts). Let c be the number of an image's K = 5 references that have the word. An
image for which the word is said adds

    tp = c (1 - 1/K),   fp = 0 if c > 1, 1/K if c = 1, 1 if c = 0                                             (1)

Images are ranked by their score. After each of them, sums over the images so far and over all I images give

    P = sum tp / (sum tp + sum fp),   R = sum tp / sum_I c (K - 1)/K                                          (2)
    AP = sum over steps of R of (step) (max P at this or a later image)                                       (3)

Chance is P after all images: what a detector reaches that says the word for every image. A person who writes one of the
references agrees with the others as often as, with the share n_c of images with the count c,

    tp = sum_c n_c c (c - 1)/K,   fp = n_1/K,   human P = tp / (tp + fp),   human R = tp / sum_c n_c c (K - 1)/K  (4)

PHR, precision at human recall, is the detector's P where its R first reaches the human R. If no two references of an
image agree on a word, its human R and human P are 0, and PHR is the P of the highest score.

Differs: the word is said for images of equal score together, so that P and R depend on no order; a detector that gives
all images the same score has the AP of chance. The official code breaks ties by the order of its sort. Without ties the
scores are equal.

For each word the images are those of which the pair is not ignored; see `WordCounts`.

All sums are integers here: (1), (2) and (4) times K.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError, shown
from captioning.metrics.word_counts import NUM_REFERENCES, WordCounts
from captioning.text.parts_of_speech import CLASSES

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]
Times = NDArray[np.float32]
"""Numbers of images, exact up to 16 million. float32 halves the time."""

K = NUM_REFERENCES
DETECTION = ("AP", "PHR")
"""The names of the values that depend on the detector."""
AGREEMENT = ("human_precision", "human_recall", "chance")
"""The names of the values that depend on the references alone."""
ALL = "all"
"""The name of the class of all words."""


@dataclass(frozen=True, eq=False)
class WordTable:
    """The values of each word that occurs in the references.

    Attributes:
        words: W words that occur.
        absent: the words that do not occur. They have no values, and count in no mean.
        values: (W) by the names in `DETECTION` and `AGREEMENT`.
    """

    words: tuple[str, ...]
    absent: tuple[str, ...]
    values: dict[str, Floats]

    def means(self, classes: Mapping[str, str] | None = None) -> dict[str, dict[str, float]]:
        """Compute the means over the words of each class, and over all words.

        Args:
            classes: the class of each word, such as its part of speech; see `captioning.text.parts_of_speech`. Without
                classes there is the mean over all words alone.

        Returns:
            By class, `ALL` last: `words`, the number of words that occur, and the mean of each value. Classes of which
            no word occurs are left out.

        Raises:
            InputError: a word has no class.
        """
        return {
            name: {"words": len(rows), **{value: float(of[rows].mean()) for value, of in self.values.items()}}
            for name, rows in rows_of_classes(self.words, classes).items()
        }


def evaluate(counts: WordCounts, scores: Floats) -> WordTable:
    """Score a detector of words.

    Args:
        counts: of I images and W words.
        scores: (I, W) what ranks the images for each word, such as probabilities or their logarithms.

    Raises:
        InputError: the shape of the scores is not that of the counts, a score is NaN, or no word occurs.
    """
    scores, occur = check_scores(counts, scores), counts.occur
    occurring, once = counts.occurring, np.ones((len(scores), 1), np.float32)
    values = np.concatenate([detections(occurring, scores[:, occur], once), agreement(occurring, once)])[..., 0]
    return WordTable(
        occurring.words,
        tuple(compress(counts.words, ~occur)),
        dict(zip(DETECTION + AGREEMENT, values, strict=True)),
    )


def detections(counts: WordCounts, scores: Floats, times: Times) -> Floats:
    """Compute AP and PHR of words on samples of the images.

    Args:
        counts: of I images and W words; each word occurs.
        scores: (I, W) the detector's.
        times: (I, B) how often each image is in each sample.

    Returns:
        (2, W, B) AP and PHR; NaN for a word that a sample does not have.
    """
    columns = list(zip(counts.counts.T, scores.T, strict=True))
    if counts.ignored is None:
        return np.stack([_detection(c, own, times) for c, own in columns], axis=1)
    counted = zip(columns, ~counts.ignored.T, strict=True)
    return np.stack([_detection(c[rows], own[rows], times[rows]) for (c, own), rows in counted], axis=1)


def agreement(counts: WordCounts, times: Times) -> Floats:
    """Compute human precision, human recall and chance of words on samples of the images.

    Args:
        counts: of I images and W words.
        times: (I, B) how often each image is in each sample.

    Returns:
        (3, W, B); NaN for a word that a sample does not have.
    """
    c, wrong = counts.counts, _false(counts.counts)
    if counts.ignored is not None:
        wrong[counts.ignored] = 0
    true, false = _true(c).T @ times, wrong.T @ times
    agreed, single = _agreed(c).T @ times, (c == 1).T.astype(np.float64) @ times
    chance = np.where(true > 0, _ratio(true, true + false), np.nan)  # (2)
    return np.stack([_ratio(agreed, agreed + single), _ratio(agreed, true), chance])  # (4)


def rows_of_classes(words: Sequence[str], classes: Mapping[str, str] | None) -> dict[str, list[int]]:
    """Return the rows of each class's words, in the order of `CLASSES`, and last those of all words, under `ALL`.

    Raises:
        InputError: a word has none of the classes.
    """
    rows: dict[str, list[int]] = {}
    if classes is not None:
        if without := [word for word in words if classes.get(word) not in CLASSES]:
            raise InputError(
                f"expected one of {', '.join(CLASSES)} for each of {len(words)} words; {len(without)} have none, "
                f"the first is '{shown(without[0])}'"
            )
        rows = {name: [row for row, word in enumerate(words) if classes[word] == name] for name in CLASSES}
    return {**{name: found for name, found in rows.items() if found}, ALL: list(range(len(words)))}


def check_scores(counts: WordCounts, scores: Floats) -> Floats:
    """Return the scores of a detector in float64.

    Raises:
        InputError: their shape is not that of the counts, one is NaN, or no word occurs in the references.
    """
    if np.shape(scores) != counts.counts.shape:
        raise InputError(
            f"expected a score for each of {counts.counts.shape[0]} images and {counts.counts.shape[1]} words; "
            f"found the shape {np.shape(scores)}"
        )
    if wrong := np.count_nonzero(np.isnan(scores)):
        raise InputError(f"expected scores that rank images; {wrong} of {np.size(scores)} are NaN")
    if not counts.occur.any():
        raise InputError(
            f"none of the {len(counts.words)} words occurs in the references; tokenize them as the words were"
        )
    return np.asarray(scores, np.float64)


def _detection(counts: Integers, scores: Floats, times: Times) -> Floats:
    """Compute AP and PHR, (2, B), of one word with the counts (I) and the scores (I); see `detections`."""
    order, ends = _ranking(counts, scores, times)
    said = np.add.reduceat(times[order[: ends[-1]]], np.append(0, ends[:-1]), axis=0).cumsum(axis=0, dtype=np.float64)
    rows = np.flatnonzero(counts[order])  # in the ranking, of the images that have the word
    c, drawn, upto = counts[order[rows]], times[order[rows]], np.searchsorted(rows, ends)
    true = _sums(_true(c), drawn)[upto]
    false = K * said - _sums(K - _false(c), drawn)[upto]
    precision = _ratio(true, true + false, empty=0)  # (2)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    average = _ratio((np.diff(true, axis=0, prepend=0) * best).sum(axis=0), true[-1])  # (3)

    reached = ((true >= _agreed(c) @ drawn) & (said > 0)).argmax(axis=0)
    at_human_recall = np.where(true[-1] > 0, precision[reached, np.arange(times.shape[1])], np.nan)
    return np.stack([average, at_human_recall])


def _true(counts: Integers) -> Floats:
    return np.asarray(counts * (K - 1.0))  # (1) times K


def _false(counts: Integers) -> Floats:
    return np.array([K, 1, *[0] * (K - 1)], np.float64)[counts]  # (1) times K


def _agreed(counts: Integers) -> Floats:
    return np.asarray(counts * (counts - 1.0))  # (4) times K


def _ranking(counts: Integers, scores: Floats, times: Times) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rank the images, and choose the scores at which P is needed.

    Between two images that have the word, P can only fall. So P is needed at the score of each image that has it, and
    at the highest score of each sample.

    Returns:
        (I) rows of the images, highest score first; and how many images have each of the scores needed or a higher one.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) + 1
    needed = np.logical_or.reduceat(counts[order] > 0, np.append(0, ends[:-1]))
    highest = 1
    while highest < len(ends) and not times[order[: ends[highest - 1]]].any(axis=0).all():
        highest *= 2
    needed[:highest] = True
    return order, ends[needed]


def _sums(weights: Floats, times: Times) -> Floats:
    """Add up the weights of the first n of N images in each sample, for n from 0 to N: (N + 1, B)."""
    return np.concatenate([np.zeros((1, times.shape[1])), (weights[:, None] * times).cumsum(axis=0)])


def _ratio(part: Floats, whole: Floats, *, empty: float = np.nan) -> Floats:
    """Divide; the result is `empty` where the whole is 0."""
    result: Floats = np.divide(part, whole, out=np.full(np.shape(whole), float(empty)), where=whole > 0)
    return result
