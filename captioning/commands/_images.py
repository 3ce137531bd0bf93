"""What commands that read images have in common: find files, read them in batches, and name new files after them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from captioning.model.image_model import ImageModel


def find(patterns: Sequence[str], command: str) -> tuple[list[Path], int]:
    """Find the image files that files, folders and globs name, and report what is none.

    Returns:
        The paths, and how many of the patterns could not be read.
    """
    from captioning.data.image_files import find_images

    found = find_images(patterns)
    for message in (*found.problems, *found.skipped):
        print(f"captioning {command}: {message}", file=sys.stderr)
    return list(found.paths), len(found.problems)


def batches(
    model: ImageModel, paths: Sequence[Path], batch_size: int, command: str
) -> Iterator[tuple[list[Path], Tensor | None, int]]:
    """Read `batch_size` files at a time: the paths that could be read, their images, and how many could not."""
    from captioning.data.pixels import channels_last, pixels

    transform = model.image_transform
    for start in range(0, len(paths), batch_size):
        read, images, bad = [], [], 0
        for path in paths[start : start + batch_size]:
            try:
                images.append(pixels(path, transform))  # small: no image is kept in full size
                read.append(path)
            except InputError as error:
                print(f"captioning {command}: {error}", file=sys.stderr)
                bad += 1
        yield read, channels_last(images) if images else None, bad


def new_png(folder: Path, image: Path) -> Path:
    """Name a new file FOLDER/NAME.png after an image's file; a number is added if the name exists."""
    target, number = folder / f"{image.stem}.png", 1
    while target.exists():
        number += 1
        target = folder / f"{image.stem}-{number}.png"
    return target
