"""Read features of detected regions from the two published file formats of bottom-up attention."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioning.data.example import CaptionedImage
from captioning.data.features.manifest import some
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError, shown
from captioning.files.arrays import FLOATS, ArrayKind, read_npz

Regions = NDArray[np.float32]
"""Regions of one image, (n, F)."""

NPZ_ARRAYS = dict.fromkeys(("feat", "x", "features"), ArrayKind(FLOATS, dimensions=2))
TSV_COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")


class RegionFiles(Protocol):
    """Files with the regions of images."""

    def missing(self, images: Sequence[CaptionedImage]) -> list[CaptionedImage]:
        """List the images without regions."""

    def read(self, image: CaptionedImage, feature_size: int) -> Regions:
        """Read the regions of one image, (n, F)."""


def open_regions(source: str | Path) -> RegionFiles:
    """Open the files of region features. Nothing is unpickled.

    Args:
        source: a folder with `<image id>.npz` or `<stem of the image file>.npz`, each with an array (n, F) or (F, n)
            named feat, x or features; or a .tsv of bottom-up attention with the columns image_id, image_w, image_h,
            num_boxes, boxes and features, the last two as base64 of float32.

    Raises:
        InputError: the source does not exist.
    """
    source = Path(source)
    if source.is_dir():
        return _NpzFolder(source)
    if source.is_file():
        return _Tsv(source)
    raise InputError(f"no regions at {source}; expected a folder of .npz files, or bottom-up attention's .tsv")


def load_regions(
    files: RegionFiles, images: Sequence[CaptionedImage], *, feature_size: int, num_regions: int
) -> ImageFeatures:
    """Load the regions of I images: grid (I, R, F) with its mask, and pooled (I, F), their mean.

    Args:
        files: the files with the regions.
        images: the images.
        feature_size: F.
        num_regions: R, the largest number of regions of an image.

    Raises:
        InputError: an image has no regions, too many, or regions of another width; or a file is damaged.
    """
    if missing := files.missing(images):
        raise InputError(f"no regions of {some([image.image_id for image in missing])}; add them")
    grid = torch.zeros(len(images), num_regions, feature_size)
    mask = torch.zeros(len(images), num_regions, dtype=torch.bool)
    for row, image in enumerate(images):
        regions = files.read(image, feature_size)
        if not 1 <= len(regions) <= num_regions:
            raise InputError(
                f"image {image.image_id!r} has {len(regions)} regions, expected 1 to {num_regions}; set "
                "encoder.num_regions to the largest number of regions of an image"
            )
        grid[row, : len(regions)] = torch.from_numpy(regions)
        mask[row, : len(regions)] = True
    return ImageFeatures(_mean(grid, mask), grid, mask)


def _mean(grid: Tensor, mask: Tensor) -> Tensor:
    return grid.sum(1) / mask.sum(1, keepdim=True)  # masked regions are 0


class _NpzFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = {path.stem for path in folder.glob("*.npz")}

    def missing(self, images: Sequence[CaptionedImage]) -> list[CaptionedImage]:
        return [image for image in images if self._name(image) is None]

    def _name(self, image: CaptionedImage) -> str | None:
        return next((name for name in (str(image.image_id), image.path.stem) if name in self.names), None)

    def read(self, image: CaptionedImage, feature_size: int) -> Regions:
        path = self.folder / f"{self._name(image)}.npz"
        found = next(iter(read_npz(path, NPZ_ARRAYS).values()))
        # Some published files store one region per column.
        return _checked(found if found.shape[1] == feature_size else found.T, feature_size, path)


class _Tsv:
    """A file with one line per image. It may not fit in memory, so only the start of each line is indexed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begins: dict[str, int] = {}
        begin = 0
        with path.open("rb") as file:
            for line in file:
                self.begins[line.partition(b"\t")[0].decode("utf-8", "replace")] = begin
                begin += len(line)

    def missing(self, images: Sequence[CaptionedImage]) -> list[CaptionedImage]:
        return [image for image in images if str(image.image_id) not in self.begins]

    def read(self, image: CaptionedImage, feature_size: int) -> Regions:
        with self.path.open("rb") as file:
            file.seek(self.begins[str(image.image_id)])
            columns = file.readline().split(b"\t")
        where = f"{self.path}, image {image.image_id!r}"
        try:
            line = dict(zip(TSV_COLUMNS, columns, strict=True))
            number, values = int(line["num_boxes"]), base64.b64decode(line["features"])
            found = np.frombuffer(values, dtype="<f4").reshape(number, -1)
        except (ValueError, OverflowError, binascii.Error) as error:
            raise InputError(
                f"{where}: the line is damaged or has other columns ({shown(error)}); expected "
                f"{', '.join(TSV_COLUMNS)}, separated by tabs"
            ) from error
        return _checked(found, feature_size, where)


def _checked(found: NDArray[Any], feature_size: int, where: object) -> Regions:
    if found.shape[1] != feature_size:
        raise InputError(
            f"{where} holds {found.dtype} {found.shape}, expected numbers (regions, {feature_size}); set "
            "encoder.feature_size to their width"
        )
    with np.errstate(over="ignore"):  # a float64 that is too large becomes infinite, which is refused
        regions = found.astype(np.float32)
    if not np.isfinite(regions).all():
        raise InputError(f"{where} holds numbers that are not finite; copy it again")
    return regions


def require_regions(files: RegionFiles, images: Sequence[CaptionedImage], source: object) -> None:
    """Check that every image has regions.

    Raises:
        InputError: some images have no regions. The message counts them and names the first three.
    """
    missing = files.missing(images)
    if missing:
        raise InputError(
            f"{source} has no regions of {len(missing):,} of {len(images):,} images "
            f"({some([image.image_id for image in missing])}); add them, or name other splits by splits=[...]"
        )
