"""N-grams as integers, so that NumPy can count and match those of all captions together.

Words are numbered. The number of an n-gram's first n - 1 words and that of its last word are packed into one integer,
its code, and the codes are numbered in turn. Different n-grams always have different numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Self

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.checks import check_references

Integers = NDArray[np.int64]
AnyIntegers = NDArray[np.int32] | NDArray[np.int64]

MAX_ORDER = 4
"""The longest n-grams that BLEU and CIDEr count."""

_WORD_BITS = 32


@dataclass(frozen=True)
class Occurrences:
    """The occurrences of the n-grams of one order in N captions.

    Attributes:
        captions: the caption of each occurrence, ascending.
        ngrams: the number of the n-gram that occurs.
        num_ngrams: all numbers in `ngrams` are below it. The n-grams of the index have the smallest numbers.
        examples: for each n-gram that is not in the index, by ascending number, the position of its first word in
            `Reading.words`.
    """

    captions: Integers
    ngrams: Integers
    num_ngrams: int
    examples: Integers

    def count(self) -> tuple[Integers, Integers, Integers]:
        """Count each n-gram of each caption: return the caption, ascending, the n-gram's number, and its count."""
        keys, counts = np.unique(self.captions * self.num_ngrams + self.ngrams, return_counts=True)
        captions, ngrams = np.divmod(keys, self.num_ngrams)
        return captions, ngrams, counts


@dataclass(frozen=True)
class Reading:
    """The n-grams of N captions, as an index numbers them.

    Attributes:
        words: the words of all captions, in order.
        lengths: (N) words of each caption.
        orders: the n-grams of 1, 2, ..., MAX_ORDER words.
    """

    words: list[str]
    lengths: Integers
    orders: tuple[Occurrences, ...]

    def new_ngrams(self, order: int) -> list[str]:
        """List the n-grams of `order` words that are not in the index, by ascending number, words joined by spaces."""
        return [" ".join(self.words[start : start + order]) for start in self.orders[order - 1].examples.tolist()]


class NGramIndex:
    """The numbers of a set of n-grams of 1 to MAX_ORDER words; it is empty unless built by `of`."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}
        self._codes = [np.empty(0, np.int64)] * (MAX_ORDER - 1)  # sorted; of 2, 3, ... words

    @classmethod
    def of(cls, captions: Sequence[str]) -> tuple[Self, Reading]:
        """Build an index of all n-grams of tokenized captions; return their reading too, whose n-grams are all new."""
        index = cls()
        reading, index._words, index._codes = index._read(captions)
        return index, reading

    def read(self, captions: Sequence[str]) -> Reading:
        """Number the n-grams of other captions; those not in the index get numbers for this reading alone."""
        return self._read(captions)[0]

    def ngrams(self, order: int, numbers: Integers) -> list[str]:
        """List the n-grams of `order` words with these numbers, words joined by spaces."""
        words = list(self._words)
        if order == 1:
            return [words[number] for number in numbers.tolist()]
        codes = self._codes[order - 2][numbers]
        beginnings = self.ngrams(order - 1, codes >> _WORD_BITS)
        last = (codes & (1 << _WORD_BITS) - 1).tolist()
        return [f"{beginning} {words[word]}" for beginning, word in zip(beginnings, last, strict=True)]

    def _read(self, captions: Sequence[str]) -> tuple[Reading, dict[str, int], list[Integers]]:
        """Read captions; also return the words and the codes of longer n-grams of an index that included them."""
        split = [caption.split() for caption in captions]
        lengths = np.fromiter(map(len, split), np.int64, len(split))
        words = list(chain.from_iterable(split))
        numbers = defaultdict(count(len(self._words)).__next__, self._words)
        word_ids = np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))
        caption_of = np.repeat(np.arange(len(split)), lengths)
        words_left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(words))

        starts, ngrams = np.arange(len(words)), word_ids
        orders = [_occurrences(caption_of, ngrams, len(self._words), len(numbers), starts)]
        new_codes = []
        for order, known in enumerate(self._codes, start=2):
            longer = words_left[starts] >= order
            starts = starts[longer]
            ngrams, new = _number(known, ngrams[longer] << _WORD_BITS | word_ids[starts + order - 1])
            orders.append(_occurrences(caption_of[starts], ngrams, len(known), len(known) + len(new), starts))
            new_codes.append(new)
        return Reading(words, lengths, tuple(orders)), dict(numbers), new_codes


def _number(known: Integers, codes: Integers) -> tuple[Integers, Integers]:
    """Number codes by their position among the known ones, new codes after these; also return these, sorted."""
    distinct, inverse = np.unique(codes, return_inverse=True)
    numbers, found = _search(known, distinct)  # few and sorted, so the search is fast
    new = distinct[~found]
    numbers[~found] = len(known) + np.arange(len(new))
    return numbers[inverse], new


def _search(values: Integers, wanted: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Search for numbers among sorted ones; return the position of each, and whether it is there."""
    positions = np.searchsorted(values, wanted)
    found = positions < len(values)
    found[found] = values[positions[found]] == wanted[found]
    return positions, found


def _occurrences(
    captions: Integers, ngrams: Integers, num_known: int, num_ngrams: int, starts: Integers
) -> Occurrences:
    examples = np.zeros(num_ngrams - num_known, np.int64)
    new = ngrams >= num_known
    examples[ngrams[new] - num_known] = starts[new]
    return Occurrences(captions, ngrams, num_ngrams, examples)


@dataclass(frozen=True)
class Postings:
    """The n-grams of one order in the references of I images, sorted by image and n-gram.

    Attributes:
        keys: image * num_ngrams + n-gram, ascending, one per n-gram of an image's references.
        starts: (keys + 1) where the entries of each key begin in the two arrays below.
        references: the references that contain the n-gram, numbered over all images, ascending within a key.
        counts: how often it occurs in each of them.
        num_ngrams: the number of different n-grams of this order in all references.
    """

    keys: Integers
    starts: Integers
    references: NDArray[np.int32]
    counts: NDArray[np.int32]
    num_ngrams: int

    @property
    def ngrams(self) -> Integers:
        """The number of each key's n-gram."""
        return self.keys % self.num_ngrams

    def find(self, images: Integers, ngrams: Integers) -> tuple[Integers, Integers]:
        """Find n-grams in the references of images.

        Args:
            images: an image for each n-gram.
            ngrams: their numbers; those that occur in no reference are not found.

        Returns:
            Which of the n-grams are found, ascending, and the position of each of these in `keys`.
        """
        candidates = np.flatnonzero(ngrams < self.num_ngrams)
        wanted = images[candidates] * self.num_ngrams + ngrams[candidates]
        positions, found = _search(self.keys, wanted)
        return candidates[found], positions[found]


class ReferenceNGrams:
    """The n-grams of the references of I images, to be matched with those of candidates.

    Counting them is most of the work of BLEU and CIDEr, which can share one object.

    Args:
        references: the tokenized references of each image.

    Attributes:
        index: the index of all references' n-grams.
        num_references: (I) the number of references of each image.
        first: (I) the first reference of each image, numbered over all images.
        lengths: (references) words of each reference.
        postings: the n-grams of 1, 2, ..., MAX_ORDER words.

    Raises:
        InputError: there is no image, or an image has no reference.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        check_references(references)
        self.num_references = np.fromiter(map(len, references), np.int64, len(references))
        self.first = self.num_references.cumsum() - self.num_references
        self.index, reading = NGramIndex.of(list(chain.from_iterable(references)))
        self.lengths = reading.lengths
        self.postings = tuple(self._post(occurrences) for occurrences in reading.orders)

    @property
    def num_images(self) -> int:
        """The number of images, I."""
        return len(self.first)

    def _post(self, occurrences: Occurrences) -> Postings:
        most = int(self.num_references.max())
        image_of = np.repeat(np.arange(self.num_images), self.num_references)
        images = image_of[occurrences.captions]
        keys = images * occurrences.num_ngrams + occurrences.ngrams
        # One sort of integers sorts by image, n-gram and reference.
        packed, counts = np.unique(keys * most + occurrences.captions - self.first[images], return_counts=True)
        keys, within = np.divmod(packed, most)
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        references = self.first[keys // occurrences.num_ngrams] + within
        return Postings(
            keys=keys[starts],
            starts=np.append(starts, len(keys)),
            references=references.astype(np.int32),
            counts=counts.astype(np.int32),
            num_ngrams=occurrences.num_ngrams,
        )


def referenced(references: Sequence[Sequence[str]] | ReferenceNGrams) -> ReferenceNGrams:
    """Count the n-grams of references, unless they are counted already."""
    return references if isinstance(references, ReferenceNGrams) else ReferenceNGrams(references)


def ranges(starts: Integers, lengths: Integers) -> Integers:
    """Concatenate arange(start, start + length) of each pair."""
    ends = lengths.cumsum()
    concatenated: Integers = np.arange(lengths.sum()) + np.repeat(starts - ends + lengths, lengths)
    return concatenated


def sum_by(groups: AnyIntegers, values: NDArray[np.generic], num_groups: int) -> NDArray[np.float64]:
    """Sum the values of each group, (num_groups); groups are given by number."""
    return np.bincount(groups, values, minlength=num_groups).astype(np.float64, copy=False)
