"""The rows of a feature store's arrays: opened with the shapes of its manifest, verified by its digests."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from captioning.data.features.blocks import digest, rows_per_block
from captioning.data.features.image_files import replaced
from captioning.data.features.manifest import Manifest, how_to_make, some
from captioning.errors import InputError, shown
from captioning.files.arrays import ArrayKind, open_npy

Map = np.memmap[Any, Any]


class StoredRows:
    """Verify the finished rows of a store, each block once.

    Args:
        folder: the store.
        manifest: its manifest.
        maps: its arrays.
    """

    def __init__(self, folder: Path, manifest: Manifest, maps: Mapping[str, Map]) -> None:
        self._folder, self._manifest, self._maps = folder, manifest, maps
        self._size = {name: rows_per_block(str(array.dtype), array.shape) for name, array in maps.items()}
        self._verified = {
            name: np.zeros(-(-manifest.rows_done // size), dtype=bool) for name, size in self._size.items()
        }

    def check(self, name: str, rows: NDArray[np.int64]) -> None:
        """Verify the blocks of these rows of an array that were not verified before.

        Raises:
            InputError: a block has another digest, or holds values that are not finite.
        """
        blocks = rows // self._size[name]
        for block in np.unique(blocks[~self._verified[name][blocks]]).tolist():
            self._check_block(name, block)
            self._verified[name][block] = True

    def verify(self) -> None:
        """Verify every block of every array.

        Raises:
            InputError: see `check`.
        """
        for name in self._maps:
            self.check(name, np.arange(self._manifest.rows_done))

    def check_files(self, rows: Sequence[int], files: Sequence[Path], *, contents: bool) -> None:
        """Compare image files with their states in these rows, see `captioning.data.features.image_files.replaced`.

        Raises:
            InputError: files were replaced. The message counts them and names the first three.
        """
        self.check("files", np.asarray(rows, dtype=np.int64))
        known = np.asarray(self._maps["files"][list(rows)])
        if changed := replaced(files, known, contents=contents):
            raise InputError(
                f"{self._folder}: {len(changed):,} of {len(files):,} image files were replaced after their features "
                f"were cached ({some([files[row].name for row in changed])}); delete {self._folder} and "
                + how_to_make(self._folder)
            )

    def _check_block(self, name: str, block: int) -> None:
        begin = block * self._size[name]
        rows = self._maps[name][begin : min(begin + self._size[name], self._manifest.rows_done)]
        expected = None if self._manifest.digests is None else self._manifest.digests[name][block]
        if expected not in (None, digest(rows)):
            reason = "have another SHA-256 than in manifest.json"
        elif rows.dtype == bool:
            reason = "are not 0 and 1" if (rows.view(np.uint8) > 1).any() else ""
        else:
            reason = "" if np.isfinite(rows).all() else "are not finite"
        if reason:
            raise InputError(
                f"{self._folder / name}.npy is damaged: rows {begin} to {begin + len(rows) - 1} {reason}; delete "
                f"{self._folder} and {how_to_make(self._folder)}"
            )


def create_array(path: Path, dtype: str, shape: tuple[int, ...]) -> Map:
    """Create an array's file with all its space, and map it into memory.

    Raises:
        OSError: the file cannot be written, or there is not enough space.
    """
    array: Map = open_memmap(path, "w+", np.dtype(dtype), shape)
    # A new memory map is a sparse file, and filling it on a full disk kills the process.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def open_array(folder: Path, name: str, manifest: Manifest, mode: Literal["r", "r+"]) -> Map:
    """Map an array of a store into memory.

    Raises:
        InputError: the file is damaged, or is not what the manifest says.
    """
    dtype, shape = manifest.arrays[name]
    try:
        array = open_npy(folder / f"{name}.npy", ArrayKind((dtype,), len(shape)), mode=mode)
    except InputError as error:
        raise InputError(f"{error}; delete {folder} and {how_to_make(folder)}") from error
    if (str(array.dtype), array.shape) != (dtype, shape):
        raise InputError(
            f"{folder / name}.npy is damaged: it holds {array.dtype} {shown(array.shape)}, and manifest.json says "
            f"{dtype} {shown(shape)}; delete {folder} and {how_to_make(folder)}"
        )
    return array
