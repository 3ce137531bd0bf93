"""A store of image features on disk, computed once by a frozen encoder and read through memory maps.

A store is a folder for one split:

    manifest.json   the encoder's identity, the image ids, the arrays, the number of finished rows, and SHA-256 digests
    pooled.npy      (I, F) float16 or float32
    grid.npy        (I, R, F), if the encoder has a grid
    mask.npy        (I, R) bool, if images differ in their number of regions
    words.npy       (I, W) float16 or float32, if the encoder has a word detector
    files.npy       (I, 6) uint64, the state of each image file: size, time and SHA-256; if an encoder read the files

Each array has a digest for every block of its rows, of about a megabyte. A block is verified when one of its rows is
read for the first time. Nothing in a store is unpickled.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from captioning.data.features.blocks import digests
from captioning.data.features.image_files import states
from captioning.data.features.manifest import (
    DTYPES,
    ImageId,
    Manifest,
    check_ids,
    how_to_make,
    id_differences,
    identity_differences,
    some,
)
from captioning.data.features.precision import precision_of, without_precision
from captioning.data.features.rows import Map, StoredRows, create_array, open_array
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

log = logging.getLogger(__name__)


class FeatureWriter:
    """Write a store in the order of its image ids. An interrupted store is resumed.

        with FeatureWriter(folder, encoder.identity(), image_ids) as writer:
            for images in batches(writer.remaining):
                writer.write(encoder(images))

    Args:
        folder: the store's folder, created if it does not exist.
        identity: everything that the features depend on, from `Encoder.identity`.
        image_ids: the split's image ids, without duplicates.
        dtype: "float16", which takes half the space and keeps three digits, or "float32".
        files: the image file of each id, whose state is recorded; None if no image is read.
        flush_every: number of rows after which progress is recorded. An interruption loses the rows since then.

    Attributes:
        rows_done: number of rows written.

    Raises:
        InputError: the folder holds features of another encoder, other images or another dtype, or .npy files without
            a manifest; the finished part is damaged; or image files were replaced after their features were written.
    """

    def __init__(
        self,
        folder: str | Path,
        identity: Mapping[str, Any],
        image_ids: Sequence[ImageId],
        *,
        dtype: str = "float16",
        files: Sequence[Path] | None = None,
        flush_every: int = 1024,
    ) -> None:
        self.folder, self.dtype, self.flush_every = Path(folder), dtype, flush_every
        if dtype not in DTYPES["pooled"]:
            raise InputError(f"dtype={dtype!r} of features, expected {' or '.join(DTYPES['pooled'])}")
        check_ids(image_ids)
        self._files = files
        self._manifest = Manifest(_plain(identity), list(image_ids), {}, rows_done=0, digests={})
        self._maps: dict[str, Map] = {}
        self.rows_done = 0
        if (self.folder / "manifest.json").exists():
            self._resume(Manifest.read(self.folder))
        elif any(self.folder.glob("*.npy")):
            raise InputError(f"{self.folder} holds .npy files and no manifest.json; choose an empty folder")

    def _resume(self, found: Manifest) -> None:
        if not found.rows_done:
            return  # an empty store is simply overwritten
        differences = identity_differences(found.identity, self._manifest.identity)
        differences += id_differences(found.image_ids, self._manifest.image_ids)
        if (dtype := found.arrays["pooled"][0]) != self.dtype:
            differences.append(f"dtype is {dtype} there and {self.dtype} here")
        if differences:
            raise InputError(
                f"{self.folder} holds other features: {'; '.join(differences)}. Choose another folder, or "
                "delete this one to make it again"
            )
        self._maps = {name: open_array(self.folder, name, found, "r+") for name in found.arrays}
        rows = StoredRows(self.folder, found, self._maps)
        rows.verify()
        if "files" not in found.arrays:
            self._files = None  # regions, or a store of an older version
        elif self._files is not None:
            rows.check_files(range(found.rows_done), self._files[: found.rows_done], contents=True)
        if found.digests is None:
            known = {name: digests(array, found.rows_done, (), 0) for name, array in self._maps.items()}
            found = replace(found, digests=known)
        self._manifest, self.rows_done = found, found.rows_done
        log.info("%s: %d of %d images are done", self.folder, self.rows_done, len(found.image_ids))

    @property
    def remaining(self) -> Sequence[ImageId]:
        """The ids of the images without features, in order."""
        return self._manifest.image_ids[self.rows_done :]

    def write(self, features: ImageFeatures) -> None:
        """Write the features of the next images, the first ones of `remaining`.

        Raises:
            InputError: a value is not finite in the store's dtype, or the folder cannot be written.
            ValueError: there are more features than remaining images, or their shapes differ from earlier ones.
        """
        given = {name: getattr(features, name) for name in ("pooled", "grid", "mask", "words")}
        rows = {name: self._array(values) for name, values in given.items() if values is not None}
        begin, end = self.rows_done, self.rows_done + len(features)
        if end > len(self._manifest.image_ids):
            raise ValueError(f"features of {end} images for a store of {len(self._manifest.image_ids)}")
        if self._files is not None:
            rows["files"] = states(self._files[begin:end])
        if not self._maps:
            self._create(rows)
        if {n: x.shape[1:] for n, x in rows.items()} != {n: x.shape[1:] for n, x in self._maps.items()}:
            raise ValueError(f"features of other shapes than before: {self._manifest.arrays}")
        for name, values in rows.items():
            self._maps[name][begin:end] = values
        self.rows_done = end
        if end - self._manifest.rows_done >= self.flush_every or end == len(self._manifest.image_ids):
            self.flush()

    def _array(self, values: Tensor) -> np.ndarray[Any, Any]:
        if values.dtype == torch.bool:
            return values.cpu().numpy()
        array = values.detach().cpu().to(getattr(torch, self.dtype)).numpy()
        bad = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if bad.any():
            finite = values.isfinite().all()
            raise InputError(
                f"{self.folder}: features of {bad.sum()} of a batch of {len(bad)} images, the first "
                f"{self.remaining[int(bad.argmax())]!r}, are "
                + (f"too large for {self.dtype}; use dtype=float32" if finite else "not finite")
            )
        return array

    def _create(self, rows: Mapping[str, np.ndarray[Any, Any]]) -> None:
        count = len(self._manifest.image_ids)
        arrays = {name: (str(x.dtype), (count, *x.shape[1:])) for name, x in rows.items()}
        self._manifest = replace(self._manifest, arrays=arrays)
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manifest.write(self.folder)
            try:
                for name, (dtype, shape) in arrays.items():
                    self._maps[name] = create_array(self.folder / f"{name}.npy", dtype, shape)
            except OSError:
                for name in arrays:
                    (self.folder / f"{name}.npy").unlink(missing_ok=True)
                raise

    def flush(self) -> None:
        """Write the rows to disk first and then record them, so that every recorded row is on disk."""
        if self.rows_done == self._manifest.rows_done:
            return
        with _writing(self.folder):
            for array in self._maps.values():
                array.flush()
            known, before = self._manifest.digests or {}, self._manifest.rows_done
            new = {n: digests(array, self.rows_done, known.get(n, ()), before) for n, array in self._maps.items()}
            self._manifest = replace(self._manifest, rows_done=self.rows_done, digests=new)
            self._manifest.write(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.flush()


class FeatureStore:
    """Read a complete store through memory maps. Only the requested rows are loaded.

    Forked and spawned DataLoader workers can use it, because it is pickled as its path.

    Args:
        folder: a folder written by `FeatureWriter`.

    Raises:
        InputError: the folder is no store, or the store is incomplete or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._manifest = Manifest.read(self.folder)
        if self._manifest.rows_done < len(self):
            raise InputError(
                f"{self.folder} holds the features of {self._manifest.rows_done} of {len(self)} images: "
                "`captioning extract` was interrupted. Run it again with the same settings to resume"
            )
        self._maps = {name: open_array(self.folder, name, self._manifest, "r") for name in self._manifest.arrays}
        self._blocks = StoredRows(self.folder, self._manifest, self._maps)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._manifest.image_ids)

    @property
    def image_ids(self) -> Sequence[ImageId]:
        """The image id of every row, in order."""
        return self._manifest.image_ids

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that the features depend on, from `Encoder.identity`."""
        return self._manifest.identity

    @cached_property
    def _row(self) -> dict[ImageId, int]:
        return {image_id: row for row, image_id in enumerate(self.image_ids)}

    def is_of(self, identity: Mapping[str, Any]) -> bool:
        """Say whether the features are those of an encoder with this identity."""
        return not identity_differences(self.identity, _plain(identity))

    def features(self, image_ids: Sequence[ImageId]) -> ImageFeatures:
        """Read the features of images as float32, in the order of `image_ids`.

        Raises:
            InputError: an image is not in the store, or a block that is read for the first time is damaged.
        """
        try:
            return self.rows([self._row[image_id] for image_id in image_ids])
        except KeyError:
            raise InputError(self._lacks(image_ids)) from None

    def rows(self, rows: Sequence[int]) -> ImageFeatures:
        """Read the features of rows as float32.

        Raises:
            InputError: a block that is read for the first time is damaged.
        """
        index = np.asarray(rows, dtype=np.int64) % len(self)
        arrays = {name: array for name, array in self._maps.items() if name != "files"}
        for name in arrays:
            self._blocks.check(name, index)
        read = {name: torch.from_numpy(np.asarray(array[index])) for name, array in arrays.items()}
        floats: dict[str, Any] = {name: x.float() for name, x in read.items() if name != "mask"}
        return ImageFeatures(**floats, mask=read.get("mask"))

    def check(self, identity: Mapping[str, Any], image_ids: Sequence[ImageId]) -> None:
        """Check that the store holds an encoder's features of some images.

        Args:
            identity: the encoder's identity.
            image_ids: the images in any order. The store may hold more.

        Raises:
            InputError: the features are of another encoder, or images are missing. The message lists the differences
                and how to make the store.
        """
        there, here = self.identity, _plain(identity)
        differences = identity_differences(there, here)
        if differences and without_precision(there) == without_precision(here):
            raise InputError(
                f"{self.folder} holds features that the encoder computed in {precision_of(there)}, not in "
                f"{precision_of(here)}; accept them by data.features_precision={precision_of(there)}, or choose "
                f"another folder and {how_to_make(self.folder)}"
            )
        if differences:
            raise InputError(
                f"{self.folder} holds features of another encoder: {'; '.join(differences)}. Set the "
                f"same encoder, or choose another folder and {how_to_make(self.folder)}"
            )
        if not self._row.keys() >= set(image_ids):
            raise InputError(self._lacks(image_ids))

    def check_files(self, files: Mapping[ImageId, Path]) -> None:
        """Check that image files are those whose features the store holds.

        Files are compared by size. If only the time differs, as in a copied data set, the contents of up to 256 files
        are compared too; `verify` compares all. Files that do not exist are left out, because cached features need no
        image files. Stores of regions or of older versions have no record of the files, so nothing is compared.

        Args:
            files: the image file of each id.

        Raises:
            InputError: files were replaced. The message counts them and names the first three.
        """
        self._check_files(files, contents=False)

    def verify(self, files: Mapping[ImageId, Path] | None = None) -> bool:
        """Verify every row of the store.

        Args:
            files: the image file of each id, to compare the contents of those that exist; None compares none.

        Returns:
            True if all rows have the digests of the manifest, False if an older version wrote the store, without any.

        Raises:
            InputError: rows are damaged or not finite, or image files were replaced.
        """
        self._blocks.verify()
        if files is not None:
            self._check_files(files, contents=True)
        return self._manifest.digests is not None

    def _check_files(self, files: Mapping[ImageId, Path], *, contents: bool) -> None:
        if "files" in self._maps:
            rows = [self._row[image_id] for image_id in files if image_id in self._row]
            self._blocks.check_files(rows, [files[self.image_ids[row]] for row in rows], contents=contents)

    def _lacks(self, image_ids: Sequence[ImageId]) -> str:
        missing = [image_id for image_id in image_ids if image_id not in self._row]
        return (
            f"{self.folder} lacks {len(missing)} of {len(image_ids)} images ({some(missing)}); it holds "
            f"{len(self)} ({some(self.image_ids)}). Choose another folder and {how_to_make(self.folder)}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A memory map is pickled as a copy of the whole file.
        return type(self), (self.folder,)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        room = f" ({shutil.disk_usage(folder).free / 1e9:.1f} GB are left)" if full else ""
        raise InputError(
            f"{folder} cannot be written: {error.strerror or error}{room}. Choose a writable folder with "
            "enough space: images x channels x 2 bytes (4 in float32), and for a grid this times its cells"
        ) from error


def _plain(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity as it is read back from JSON, where tuples are lists."""
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain
