"""How many of an image's references have each word: what word detectors are scored against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError

NUM_REFERENCES = 5
"""K: the references of an image that are counted."""


@dataclass(frozen=True, eq=False)
class WordCounts:
    """In how many of its K references each image has each word.

    Attributes:
        words: W different words.
        counts: (I, W) integers from 0 to K.
        ignored: (I, W) the pairs of an image and a word that are neither right nor wrong, and whose count is 0: the
            image is left out when the word is scored. None if there are none.

    Raises:
        InputError: there is no image or no word, a word occurs twice, a count is not an integer from 0 to K, or
            `ignored` has another shape or a pair whose count is not 0.
    """

    words: tuple[str, ...]
    counts: NDArray[np.integer]
    ignored: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        shape, kind = self.counts.shape, self.counts.dtype
        if len(shape) != 2 or 0 in shape or shape[1] != len(self.words) or kind.kind not in "iu":
            raise InputError(
                f"expected counts as integers (images, {len(self.words)} words), at least one of each; "
                f"found {kind} of the shape {shape}"
            )
        if len(set(self.words)) < len(self.words):
            raise InputError(f"expected {len(self.words)} different words, found {len(set(self.words))}")
        if self.counts.min() < 0 or self.counts.max() > NUM_REFERENCES:
            raise InputError(
                f"expected counts from 0 to {NUM_REFERENCES} references; "
                f"found {self.counts.min()} to {self.counts.max()}"
            )
        if self.ignored is not None and (self.ignored.shape != shape or self.counts[self.ignored].any()):
            raise InputError(
                f"expected ignored pairs of {shape[0]} images and {shape[1]} words, with counts of 0; found the "
                f"shape {self.ignored.shape}, or other counts"
            )

    @property
    def occur(self) -> NDArray[np.bool_]:
        """(W) whether any image has the word."""
        return np.asarray((self.counts > 0).any(axis=0))

    @property
    def occurring(self) -> WordCounts:
        """The counts of the words that an image has."""
        ignored = None if self.ignored is None else self.ignored[:, self.occur]
        return WordCounts(tuple(compress(self.words, self.occur)), self.counts[:, self.occur], ignored)


def count_words(references: Sequence[Sequence[str]], words: Sequence[str]) -> WordCounts:
    """Count the references that have each word. A word that a reference has twice counts once.

    Args:
        references: the tokenized references of each image, in a fixed order. Of more than K, the first K are counted.
        words: the words to look for.

    Raises:
        InputError: there is no image or no word, a word is given twice, or an image has fewer than K references.
    """
    if few := sum(len(group) < NUM_REFERENCES for group in references):
        raise InputError(
            f"word detectors are scored against {NUM_REFERENCES} references of each image; {few} of {len(references)} "
            "images have fewer: leave these images out"
        )
    column = {word: number for number, word in enumerate(words)}
    counts = np.zeros((len(references), len(words)), np.int8)
    for row, group in enumerate(references):
        for reference in group[:NUM_REFERENCES]:
            counts[row, [column[word] for word in set(reference.split()) if word in column]] += 1
    return WordCounts(tuple(words), counts)
