"""Find the images of a split that cannot be read, before a model is trained or evaluated on them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from captioning.data.example import CaptionedImage
from captioning.data.images import check_image
from captioning.errors import InputError

log = logging.getLogger(__name__)

_FEW = 1000
"""Up to this many images are checked in this process, because starting others takes a second."""


class _Problems(Dataset[str]):
    """What is wrong with each image file; "" if it can be read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> str:
        try:
            check_image(self.paths[row])
        except InputError as error:
            return str(error)
        return ""


def find_broken(paths: Iterable[Path]) -> dict[Path, str]:
    """Find the images that cannot be read, and say what is wrong with each.

    Every image is decoded once, by up to 16 processes. Faster checks miss damage that would stop the training.
    """
    paths = list(dict.fromkeys(paths))
    loader = DataLoader(
        _Problems(paths),
        batch_size=64,
        num_workers=0 if len(paths) <= _FEW else min(16, len(os.sched_getaffinity(0))),
        collate_fn=list,
        generator=torch.Generator(),  # the run's own random numbers stay as they are
    )
    problems = [problem for batch in loader for problem in batch]
    return {path: problem for path, problem in zip(paths, problems, strict=True) if problem}


def without_broken(images: Sequence[CaptionedImage], *, skip: bool) -> list[CaptionedImage]:
    """Find the images that cannot be read, and leave them out or raise an error.

    Args:
        images: a split. Sentences are not checked.
        skip: leave out broken images, and log each, instead of raising an error.

    Returns:
        The images that can be read, in the same order.

    Raises:
        InputError: images cannot be read and `skip` is false, or none can be read. The message counts them and
            describes the first three.
    """
    paths = dict.fromkeys(image.path for image in images if image.text is None)
    broken = find_broken(paths)
    if not broken:
        return list(images)
    if not skip or len(broken) == len(paths):
        first = "; ".join(list(broken.values())[:3])
        raise InputError(
            f"{len(broken):,} of {len(paths):,} images cannot be read: {first}{'; ...' if len(broken) > 3 else ''}. "
            "Replace them, or leave them out with data.skip_broken=true"
        )
    for problem in broken.values():
        log.warning("skipped: %s", problem)
    log.warning("%d of %d images cannot be read and are skipped, with their captions", len(broken), len(paths))
    return [image for image in images if image.path not in broken]
