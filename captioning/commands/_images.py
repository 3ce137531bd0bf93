"""What commands that read images have in common: find files, read them in batches, and name new files after them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.errors import InputError

STDIN = "-"
"""Stands for the standard input among the paths of images."""

if TYPE_CHECKING:
    from torch import Tensor

    from captioning.model.image_model import ImageModel


def find(patterns: Sequence[str], command: str) -> tuple[list[Path | str], int]:
    """Find the image files that files, folders and globs name, and report what is none.

    Returns:
        The paths, with "-" first if it was given, and how many of the patterns could not be read.
    """
    from captioning.data.image_files import find_images

    found = find_images([pattern for pattern in patterns if pattern != STDIN])
    for message in (*found.problems, *found.skipped):
        print(f"captioning {command}: {message}", file=sys.stderr)
    return [*([STDIN] if STDIN in patterns else []), *found.paths], len(found.problems)


def batches(
    model: ImageModel, paths: Sequence[Path | str], batch_size: int, command: str
) -> Iterator[tuple[list[Path | str], Tensor | None, int]]:
    """Read `batch_size` files at a time: the paths that could be read, their images, and how many could not."""
    from captioning.data.pixels import channels_last, pixels

    transform = model.image_transform
    for start in range(0, len(paths), batch_size):
        read: list[Path | str] = []
        images, bad = [], 0
        for path in paths[start : start + batch_size]:
            try:
                source = sys.stdin.buffer if path == STDIN else path
                images.append(pixels(source, transform, name="standard input"))  # small: not kept in full size
                read.append(path)
            except InputError as error:
                print(f"captioning {command}: {error}", file=sys.stderr)
                bad += 1
        yield read, channels_last(images) if images else None, bad


def new_png(folder: Path, image: Path | str) -> Path:
    """Name a new file FOLDER/NAME.png after an image's file; a number is added if the name exists."""
    stem = "stdin" if image == STDIN else Path(image).stem
    target, number = folder / f"{stem}.png", 1
    while target.exists():
        number += 1
        target = folder / f"{stem}-{number}.png"
    return target
