"""What image files were when their features were cached, so that replaced images are noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError

States = NDArray[np.uint64]
"""A row for each file: its size in bytes, its time of modification in nanoseconds, and its SHA-256 in four numbers."""

WIDTH = 6
MOST_READ = 256
"""The most files that `replaced` reads if `contents` is False."""


def states(paths: Sequence[Path]) -> States:
    """Read the states of files, (I, 6).

    Raises:
        InputError: a file cannot be read.
    """
    found = np.zeros((len(paths), WIDTH), dtype=np.uint64)
    for row, path in enumerate(paths):
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                digest = hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); expected an image") from error
        found[row, :2] = _size_and_time(status)
        found[row, 2:] = np.frombuffer(digest, dtype="<u8")
    return found


def replaced(paths: Sequence[Path], known: States, *, contents: bool) -> list[int]:
    """List the rows of files that are no longer what they were. Files that do not exist are left out.

    Args:
        paths: I files.
        known: their states (I, 6) when their features were cached.
        contents: whether to read every file of unchanged size. If False, a file of unchanged size and time counts as
            unchanged. Up to 256 files of which only the time has changed, as in a copied data set, are read.
    """
    changed, unsure = [], []
    for row, path in enumerate(paths):
        try:
            size, time = _size_and_time(path.stat())
        except OSError:
            continue
        if size != int(known[row, 0]):
            changed.append(row)
        elif contents or time != int(known[row, 1]):
            unsure.append(row)
    if not contents:
        unsure = unsure[:: -(-len(unsure) // MOST_READ) or 1]
    now = states([paths[row] for row in unsure])
    changed += [row for row, state in zip(unsure, now, strict=True) if (state[2:] != known[row, 2:]).any()]
    return sorted(changed)


def _size_and_time(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, max(0, status.st_mtime_ns)
