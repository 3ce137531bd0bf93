"""Captions as token ids, stored in a few flat arrays."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np

from captioning.data.example import CaptionedImage
from captioning.errors import InputError
from captioning.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

_MAX_TRUNCATED = 0.1
"""The largest fraction of captions that may be truncated."""


class EncodedCaptions:
    """Store the token ids of every caption of a split.

    Half a million captions take 30 MB, and forked workers share them.

    Args:
        images: the split.
        tokenizer: tokenizes the captions.
        max_length: number of tokens after which captions are truncated, or None for no limit. A truncated caption loses
            its `<eos>` too, so that no model learns to stop in the middle of a sentence.

    Attributes:
        lengths: (I,) number of tokens of each image's longest caption, 0 for an image without captions.
        num_clipped: number of truncated captions.

    Raises:
        InputError: more than a tenth of the captions would be truncated.
    """

    def __init__(
        self, images: Sequence[CaptionedImage], tokenizer: Tokenizer, *, max_length: int | None = None
    ) -> None:
        ids = tokenizer.encode([caption for image in images for caption in image.captions])
        self.num_clipped = 0
        if max_length is not None:
            too_long = [n for n, own in enumerate(ids) if len(own) > max_length + 2]
            self.num_clipped = len(too_long)
            if len(too_long) > _MAX_TRUNCATED * len(ids):
                longest = max(map(len, ids)) - 2
                raise InputError(
                    f"data.max_length={max_length} would truncate {len(too_long):,} of {len(ids):,} training captions, "
                    f"more than {_MAX_TRUNCATED:.0%}; set data.max_length={longest} search.max_length={longest + 1} "
                    "(the longest caption, and <eos>)"
                )
            for n in too_long:
                ids[n] = ids[n][: max_length + 1]
            log.log(
                logging.WARNING if too_long else logging.INFO,
                "%d of %d captions are longer than max_length=%d tokens and were truncated",
                len(too_long),
                len(ids),
                max_length,
            )
        sizes = np.fromiter((len(own) for own in ids), dtype=np.int64, count=len(ids))
        self._ids = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=sizes.sum())
        self._captions = np.cumsum([0, *sizes])  # where each caption starts in _ids
        self._images = np.cumsum([0, *(len(image.captions) for image in images)])
        self.lengths = np.array([sizes[a:b].max(initial=0) for a, b in pairwise(self._images)], dtype=np.int64)

    def __getitem__(self, image: int) -> list[list[int]]:
        """Return the token ids of each caption of image number `image`."""
        return [
            self._ids[self._captions[n] : self._captions[n + 1]].tolist()
            for n in range(self._images[image], self._images[image + 1])
        ]
