"""Score word detectors apart for words whose objects are small, medium and large.

Source: the area ranges of COCO's detection metrics (Lin et al. 2014, arXiv:1405.0312; `areaRng` of pycocotools'
cocoeval): what lies outside a range is neither right nor wrong there.

The captions of an image mention objects by some of their words. For a size s, the pair of an image and a word

    keeps its count     if the word mentions an object of size s in this image, whatever else it mentions
    is ignored          if the captions have the word, and it mentions no object of size s
    has the count 0     if no caption has the word, as for all sizes

Words that mention no object in any image are not scored. An object is small up to the first limit, medium up to the
second, and large above. Differs: COCO's limits are 32² and 96² pixels. Here they divide the objects into three equal
parts, so that the sizes have similar numbers of images, and an area is that of the box as a share of the image.

Compare detectors within a size. The fewer images mention objects of a size, the lower is the AP of chance, so that the
AP of two sizes can differ without one being harder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.word_counts import WordCounts

SIZES = ("small", "medium", "large")


@dataclass(frozen=True, eq=False)
class WordSizes:
    """Which sizes the objects have that the captions of each image mention by each word.

    Attributes:
        limits: the largest areas of a small and of a medium object, as shares of the image.
        sizes: (I, W) integers; bit s is set if the word mentions an object of the size `SIZES[s]`. 0 if it mentions
            none.

    Raises:
        InputError: the limits are not ordered or not from 0 to 1, or `sizes` has another form.
    """

    limits: tuple[float, float]
    sizes: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if not 0 <= self.limits[0] <= self.limits[1] <= 1:
            raise InputError(f"expected two limits of areas from 0 to 1, the lower one first; found {self.limits}")
        if self.sizes.ndim != 2 or self.sizes.dtype != np.uint8 or (self.sizes >= 1 << len(SIZES)).any():
            raise InputError(
                f"expected sizes as uint8 (images, words) below {1 << len(SIZES)}; found {self.sizes.dtype} of the "
                f"shape {self.sizes.shape}"
            )

    @classmethod
    def of(
        cls, areas: Mapping[tuple[int, int], Collection[float]], limits: tuple[float, float], shape: tuple[int, int]
    ) -> WordSizes:
        """Sort areas into sizes.

        Args:
            areas: those of the objects that a word mentions in an image, by the rows of the image and of the word.
            limits: see the class.
            shape: the numbers of images and of words.
        """
        sizes = np.zeros(shape, np.uint8)
        for pair, found in areas.items():
            for size in np.searchsorted(limits, list(found)):  # an area that equals a limit is of the lower size
                sizes[pair] |= 1 << int(size)
        return cls(limits, sizes)

    def within(self, counts: WordCounts) -> dict[str, WordCounts]:
        """Restrict counts to the mentioned words and to each size.

        Args:
            counts: of the same images and words.

        Returns:
            By size, smallest first; sizes without any pair are left out. Words that are not scored have no counts.

        Raises:
            InputError: the counts are of other numbers of images or words.
        """
        if counts.counts.shape != self.sizes.shape:
            raise InputError(
                f"expected counts of {self.sizes.shape[0]} images and {self.sizes.shape[1]} words, as the sizes are; "
                f"found the shape {counts.counts.shape}"
            )
        said = (counts.counts > 0) & (self.sizes > 0).any(axis=0)
        found = {}
        for bit, name in enumerate(SIZES):
            inside = said & (self.sizes >> bit & 1 > 0)
            if inside.any():
                kept = np.where(inside, counts.counts, 0).astype(counts.counts.dtype)
                found[name] = WordCounts(counts.words, kept, said & ~inside)
        return found


def thirds(areas: NDArray[np.float64]) -> tuple[float, float]:
    """Choose limits that divide areas (N,), at least one, into three parts of equal number, up to equal areas."""
    low, high = np.quantile(areas, [1 / 3, 2 / 3])
    return float(low), float(high)
