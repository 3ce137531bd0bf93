"""Captions as token ids, stored in a few flat arrays."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.data.example import CaptionedImage
from captioning.errors import InputError
from captioning.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

MAX_TRUNCATED = 0.1
"""The largest fraction of captions that may be truncated."""


class EncodedCaptions:
    """Store the token ids of every caption of a split.

    Half a million captions take 30 MB, and forked workers share them.

    Args:
        images: the split.
        tokenizer: tokenizes the captions.
        max_length: number of tokens after which captions are truncated, or None for no limit. A truncated caption loses
            its `<eos>` too, so that no model learns to stop in the middle of a sentence.
        part: how many captions of an image stay together. A row is then a part of an image's captions, and an image
            without captions has no row. None keeps all together: a row is an image.

    Attributes:
        images: (J,) which image each row is of.
        lengths: (J,) number of tokens of each row's longest caption, 0 for an image without captions.
        num_clipped: number of truncated captions.

    Raises:
        InputError: more than a tenth of the captions would be truncated.
    """

    def __init__(
        self,
        images: Sequence[CaptionedImage],
        tokenizer: Tokenizer,
        *,
        max_length: int | None = None,
        part: int | None = None,
    ) -> None:
        self._ids, sizes = tokenizer.encode_flat([caption for image in images for caption in image.captions])
        self._starts = np.cumsum([0, *sizes])  # where each caption starts in _ids
        self.num_clipped = 0
        if max_length is not None:
            self.num_clipped = _num_too_long(sizes, max_length)
            sizes = np.where(sizes > max_length + 2, max_length + 1, sizes)
        self._ends = self._starts[:-1] + sizes
        counts = np.fromiter((len(image.captions) for image in images), dtype=np.int64, count=len(images))
        rows_of = np.ones_like(counts) if part is None else -(-counts // part)
        self.images = np.repeat(np.arange(len(images)), rows_of)
        number = np.arange(len(self.images)) - np.repeat(np.cumsum(rows_of) - rows_of, rows_of)  # within its image
        self._counts = counts[self.images] if part is None else np.minimum(counts[self.images] - number * part, part)
        self._captions = np.cumsum(self._counts) - self._counts  # each row's first caption
        self.lengths = np.zeros(len(self.images), dtype=np.int64)
        filled = self._counts > 0
        if filled.any():
            self.lengths[filled] = np.maximum.reduceat(sizes, self._captions[filled])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.images)

    def __getitem__(self, row: int) -> list[list[int]]:
        """Return the token ids of each caption of a row."""
        first = self._captions[row]
        return [self._ids[self._starts[n] : self._ends[n]].tolist() for n in range(first, first + self._counts[row])]


def _num_too_long(sizes: NDArray[np.int64], max_length: int) -> int:
    """Count and log the captions that are truncated, and refuse to truncate too many."""
    too_long = int((sizes > max_length + 2).sum())
    if too_long > MAX_TRUNCATED * len(sizes):
        longest = int(sizes.max()) - 2
        raise InputError(
            f"data.max_length={max_length} would truncate {too_long:,} of {len(sizes):,} training captions, "
            f"more than {MAX_TRUNCATED:.0%}; set data.max_length={longest} search.max_length={longest + 1} "
            "(the longest caption, and <eos>)"
        )
    log.log(
        logging.WARNING if too_long else logging.INFO,
        "%d of %d captions are longer than max_length=%d tokens and were truncated",
        too_long,
        len(sizes),
        max_length,
    )
    return too_long
