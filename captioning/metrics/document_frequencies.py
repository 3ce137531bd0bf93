"""Document frequencies of n-grams: in how many images' references each one occurs. CIDEr weights n-grams by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from captioning.errors import InputError, shown
from captioning.files.atomic import write_json
from captioning.json_files import Count, read_typed
from captioning.metrics.ngrams import Integers, Postings, ReferenceNGrams, referenced


class _File(msgspec.Struct, forbid_unknown_fields=True):
    num_images: Count
    counts: dict[str, Count]


@dataclass(frozen=True)
class DocumentFrequencies:
    """In how many images' references each n-gram occurs.

    Attributes:
        num_images: the number of images that were counted.
        counts: images by n-gram, its words joined by spaces. An n-gram that occurs in one image has the weight of one
            that occurs in none, so only those that occur in two images or more need be listed.

    Raises:
        InputError: there is no image, or a count is not a whole number between 1 and the number of images.
    """

    num_images: int
    counts: Mapping[str, int]

    def __post_init__(self) -> None:
        if type(self.num_images) is not int or self.num_images < 1:
            raise InputError(f"expected document frequencies of at least one image; found {shown(self.num_images)}")
        for ngram, count in self.counts.items():
            if type(count) is not int or not 1 <= count <= self.num_images:
                raise InputError(
                    f"expected each n-gram in 1 to {self.num_images} images, found '{shown(ngram)}' in {shown(count)}; "
                    "count the references again"
                )

    @classmethod
    def of(cls, references: Sequence[Sequence[str]] | ReferenceNGrams) -> Self:
        """Count the images of each n-gram in tokenized references, or in their n-grams.

        Raises:
            InputError: there is no image, or an image has no reference.
        """
        ngrams = referenced(references)
        counts: dict[str, int] = {}
        for order, postings in enumerate(ngrams.postings, start=1):
            frequencies = document_frequencies(postings)
            several = np.flatnonzero(frequencies > 1)
            counts.update(zip(ngrams.index.ngrams(order, several), frequencies[several].tolist(), strict=True))
        return cls(ngrams.num_images, counts)

    def save(self, path: str | Path) -> None:
        """Write them as JSON.

        Raises:
            InputError: the file cannot be written.
        """
        write_json(path, {"num_images": self.num_images, "counts": dict(self.counts)}, indent=None)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, or holds something else.
        """
        try:
            found = read_typed(Path(path), _File)
        except InputError as error:
            raise InputError(f"{error}; expected document frequencies, with 'num_images' and 'counts'") from error
        try:
            return cls(found.num_images, found.counts)
        except InputError as error:
            raise InputError(f"{shown(path, 300)}: {error}") from error


def document_frequencies(postings: Postings) -> Integers:
    """Count the images in whose references each n-gram occurs, by the n-gram's number."""
    return np.bincount(postings.ngrams, minlength=postings.num_ngrams)
