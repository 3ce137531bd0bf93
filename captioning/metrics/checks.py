"""Checks of what every metric is given."""

from __future__ import annotations

from collections.abc import Sequence

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
