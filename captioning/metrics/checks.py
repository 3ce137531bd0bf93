"""Checks of what every metric is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError


def check_references(references: Sequence[Sequence[str]]) -> None:
    """Check that there are images, each with a reference.

    Raises:
        InputError: there is no image, an image has no reference, or its references are one string.
    """
    if not references:
        raise InputError("expected the references of at least one image, found none")
    if wrong := [row for row, group in enumerate(references) if isinstance(group, str) or not group]:
        raise InputError(
            f"expected a list of at least one reference for each of {len(references)} images; "
            f"not so for {len(wrong)} of them, the first in row {wrong[0]}"
        )


def check_candidates(candidates: Sequence[str], num_expected: int) -> None:
    """Check that there is a candidate for each image.

    Raises:
        InputError: their number differs from the number of images, or they are one string.
    """
    if isinstance(candidates, str) or len(candidates) != num_expected:
        found = "one string" if isinstance(candidates, str) else len(candidates)
        raise InputError(f"expected a list of {num_expected} candidates, one for each image; found {found}")


def check_images(images: NDArray[np.int64], num_captions: int, num_images: int) -> NDArray[np.int64]:
    """Check that each caption has an image.

    Args:
        images: the row of each caption's image in the references.
        num_captions: how many captions there are.
        num_images: how many images have references.

    Returns:
        The rows as int64.

    Raises:
        InputError: the numbers of captions and images differ, or an image is not a row of the references.
    """
    images = np.asarray(images)
    if images.shape != (num_captions,):
        raise InputError(f"expected an image for each of {num_captions} captions; found shape {images.shape}")
    if len(images) and not (images.dtype.kind in "iu" and images.min() >= 0 and images.max() < num_images):
        raise InputError(
            f"expected images as rows 0 to {num_images - 1} of the references; "
            f"found {images.min()} to {images.max()} of dtype {images.dtype}"
        )
    return images.astype(np.int64)
