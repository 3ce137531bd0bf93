"""N-grams as integers, so that arrays can count and match those of all captions at once.

Words are numbered. An n-gram is its first n - 1 words, already a number, and its last word: the two are packed into
one integer, its code, and codes are numbered in turn. No two n-grams share a number, whatever the vocabulary's size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Self

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.metric import check_references

Integers = NDArray[np.int64]
AnyIntegers = NDArray[np.int32] | NDArray[np.int64]

MAX_ORDER = 4
"""The longest n-grams that BLEU and CIDEr count."""

_WORD_BITS = 32


@dataclass(frozen=True)
class Occurrences:
    """Where the n-grams of one order stand in N captions.

    Attributes:
        captions: the caption of each occurrence, ascending.
        ngrams: the number of the n-gram that occurs.
        num_ngrams: all numbers lie below it; those that the index holds come first.
        examples: for each n-gram that the index does not hold, by ascending number, the place of its first word
            in `Reading.words`.
    """

    captions: Integers
    ngrams: Integers
    num_ngrams: int
    examples: Integers

    def count(self) -> tuple[Integers, Integers, Integers]:
        """Count each n-gram of each caption: its caption, ascending, its number, and how often it stands there."""
        keys, counts = np.unique(self.captions * self.num_ngrams + self.ngrams, return_counts=True)
        captions, ngrams = np.divmod(keys, self.num_ngrams)
        return captions, ngrams, counts


@dataclass(frozen=True)
class Reading:
    """What an index reads in N captions.

    Attributes:
        words: of all captions, one after the other.
        lengths: (N) words of each caption.
        orders: the n-grams of 1, 2, ..., MAX_ORDER words.
    """

    words: list[str]
    lengths: Integers
    orders: tuple[Occurrences, ...]

    def new_ngrams(self, order: int) -> list[str]:
        """The n-grams of so many words that the index does not hold, by ascending number, words joined by spaces."""
        return [" ".join(self.words[place : place + order]) for place in self.orders[order - 1].examples.tolist()]


class NGramIndex:
    """The numbers of a set of n-grams, of 1 to MAX_ORDER words; it is empty until made `of` captions."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}
        self._codes = [np.empty(0, np.int64)] * (MAX_ORDER - 1)  # sorted; of 2, 3, ... words

    @classmethod
    def of(cls, captions: Sequence[str]) -> tuple[Self, Reading]:
        """Hold all n-grams of tokenized captions; and what it reads in them, where all n-grams are new."""
        index = cls()
        reading, index._words, index._codes = index._read(captions)
        return index, reading

    def read(self, captions: Sequence[str]) -> Reading:
        """Number the n-grams of other captions; those that the index does not hold get numbers for this once."""
        return self._read(captions)[0]

    def ngrams(self, order: int, numbers: Integers) -> list[str]:
        """The n-grams of so many words that have these numbers, words joined by spaces."""
        words = list(self._words)
        if order == 1:
            return [words[number] for number in numbers.tolist()]
        codes = self._codes[order - 2][numbers]
        beginnings = self.ngrams(order - 1, codes >> _WORD_BITS)
        last = (codes & (1 << _WORD_BITS) - 1).tolist()
        return [f"{beginning} {words[word]}" for beginning, word in zip(beginnings, last, strict=True)]

    def _read(self, captions: Sequence[str]) -> tuple[Reading, dict[str, int], list[Integers]]:
        """Read captions; tell the words, and the codes of longer n-grams, that the index would hold with them."""
        split = [caption.split() for caption in captions]
        lengths = np.fromiter(map(len, split), np.int64, len(split))
        words = list(chain.from_iterable(split))
        numbers = defaultdict(count(len(self._words)).__next__, self._words)
        word_ids = np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))
        caption_of = np.repeat(np.arange(len(split)), lengths)
        words_left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(words))

        places, ngrams = np.arange(len(words)), word_ids
        orders = [_occurrences(caption_of, ngrams, len(self._words), len(numbers), places)]
        new_codes = []
        for order, known in enumerate(self._codes, start=2):
            longer = words_left[places] >= order
            places = places[longer]
            ngrams, new = _number(known, ngrams[longer] << _WORD_BITS | word_ids[places + order - 1])
            orders.append(_occurrences(caption_of[places], ngrams, len(known), len(known) + len(new), places))
            new_codes.append(new)
        return Reading(words, lengths, tuple(orders)), dict(numbers), new_codes


def _number(known: Integers, codes: Integers) -> tuple[Integers, Integers]:
    """Number codes by their place among the known ones, and new ones after these; and the new ones, sorted."""
    distinct, inverse = np.unique(codes, return_inverse=True)
    numbers, found = _search(known, distinct)  # few, and in order, which makes the search fast
    new = distinct[~found]
    numbers[~found] = len(known) + np.arange(len(new))
    return numbers[inverse], new


def _search(values: Integers, wanted: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Look for numbers among sorted ones: the place of each, and whether it is there."""
    places = np.searchsorted(values, wanted)
    found = places < len(values)
    found[found] = values[places[found]] == wanted[found]
    return places, found


def _occurrences(
    captions: Integers, ngrams: Integers, num_known: int, num_ngrams: int, places: Integers
) -> Occurrences:
    examples = np.zeros(num_ngrams - num_known, np.int64)
    new = ngrams >= num_known
    examples[ngrams[new] - num_known] = places[new]
    return Occurrences(captions, ngrams, num_ngrams, examples)


@dataclass(frozen=True)
class Postings:
    """The n-grams of one order in the references of I images: image by image, n-gram by n-gram.

    Attributes:
        keys: image * num_ngrams + n-gram, ascending: one for each n-gram of an image's references.
        starts: (keys + 1) where the entries of a key begin in the two arrays below.
        references: the references that hold it, as numbers over all images, ascending within a key.
        counts: how often each of them holds it.
        num_ngrams: of this order, in all references.
    """

    keys: Integers
    starts: Integers
    references: NDArray[np.int32]
    counts: NDArray[np.int32]
    num_ngrams: int

    @property
    def ngrams(self) -> Integers:
        """The n-gram of each key."""
        return self.keys % self.num_ngrams

    def find(self, images: Integers, ngrams: Integers) -> tuple[Integers, Integers]:
        """Find n-grams in the references of images.

        Args:
            images: an image for each n-gram.
            ngrams: their numbers; those that no reference holds are not found.

        Returns:
            which of the n-grams are found, ascending, and the place of each of these in `keys`.
        """
        candidates = np.flatnonzero(ngrams < self.num_ngrams)
        wanted = images[candidates] * self.num_ngrams + ngrams[candidates]
        places, found = _search(self.keys, wanted)
        return candidates[found], places[found]


class ReferenceNGrams:
    """The n-grams of the references of I images, to be matched with those of candidates.

    Counting them is most of the work of BLEU and CIDEr; both can be handed the same.

    Args:
        references: the tokenized references of each image.

    Attributes:
        index: of all references' n-grams.
        num_references: (I) of each image.
        first: (I) the first reference of each image, as a number over all images.
        lengths: words of each reference.
        postings: of 1, 2, ..., MAX_ORDER words.

    Raises:
        InputError: there is no image, or one has no reference.
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
        """I."""
        return len(self.first)

    def _post(self, occurrences: Occurrences) -> Postings:
        most = int(self.num_references.max())
        image_of = np.repeat(np.arange(self.num_images), self.num_references)
        images = image_of[occurrences.captions]
        keys = images * occurrences.num_ngrams + occurrences.ngrams
        # One sort of integers orders by image, n-gram and reference.
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
    """Count the references' n-grams, unless they are counted."""
    return references if isinstance(references, ReferenceNGrams) else ReferenceNGrams(references)


def ranges(starts: Integers, lengths: Integers) -> Integers:
    """Concatenate arange(start, start + length) of each pair."""
    ends = lengths.cumsum()
    concatenated: Integers = np.arange(lengths.sum()) + np.repeat(starts - ends + lengths, lengths)
    return concatenated


def sum_by(groups: AnyIntegers, values: NDArray[np.generic], num_groups: int) -> NDArray[np.float64]:
    """Sum values whose group is given by number: (num_groups)."""
    return np.bincount(groups, values, minlength=num_groups).astype(np.float64, copy=False)
