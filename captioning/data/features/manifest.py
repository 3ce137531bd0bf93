"""The manifest of a feature store, and the differences between two stores."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from captioning.data.features.blocks import rows_per_block
from captioning.errors import InputError, shown
from captioning.files.atomic import write_json
from captioning.json_files import Count, flat, parse_json, typed

ImageId = int | str
Name = Literal["pooled", "grid", "mask", "words", "files"]

FORMAT_VERSION = 2  # 1 has no digests


class _Array(msgspec.Struct, forbid_unknown_fields=True):
    dtype: Literal["float16", "float32", "bool", "uint64"]
    shape: Annotated[list[Count], msgspec.Meta(min_length=2, max_length=3)]


class _EveryVersion(msgspec.Struct, forbid_unknown_fields=True):
    identity: dict[str, Any]
    count: Count
    rows_done: Annotated[int, msgspec.Meta(ge=0)]
    arrays: dict[Name, _Array]
    image_ids: list[ImageId]


class _Version1(_EveryVersion):
    format_version: Literal[1]


class _Version2(_EveryVersion):
    format_version: Literal[2]
    digests: dict[Name, list[Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]]]
    sha256: str


_VERSIONS: dict[int, type[_Version1 | _Version2]] = {1: _Version1, FORMAT_VERSION: _Version2}


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        identity: everything that the features depend on, from `Encoder.identity`.
        image_ids: the image id of every row, in order, without duplicates.
        arrays: dtype and shape of each file, keyed by its stem: pooled, grid, mask, words, files.
        rows_done: number of rows that are safely on disk.
        digests: of each array, the SHA-256 of every block of these rows; None if an older version wrote the store.
    """

    identity: Mapping[str, Any]
    image_ids: Sequence[ImageId]
    arrays: Mapping[str, tuple[str, tuple[int, ...]]]
    rows_done: int
    digests: Mapping[str, Sequence[str]] | None

    def write(self, folder: Path) -> None:
        """Replace the file atomically, with a digest of its own content.

        Raises:
            InputError: the file cannot be written.
        """
        content = {
            "format_version": FORMAT_VERSION,
            "identity": self.identity,
            "count": len(self.image_ids),
            "rows_done": self.rows_done,
            "arrays": {name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in self.arrays.items()},
            "image_ids": self.image_ids,
            "digests": self.digests or {},
        }
        write_json(folder / "manifest.json", {**content, "sha256": _digest(content)}, indent=None)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check a folder's manifest.

        Raises:
            InputError: the manifest does not exist, has another format version, or is damaged.
        """
        path, version = folder / "manifest.json", None
        try:
            content = parse_json(path.read_text(encoding="utf-8"), "it")
            version = content.get("format_version") if isinstance(content, dict) else FORMAT_VERSION
            if version in _VERSIONS:
                return cls._of(content, typed(content, _VERSIONS[version], "it"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(f"{folder} is no feature store; {how_to_make(folder)}") from error
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path} is damaged ({shown(error, 200)}); delete {folder} and {how_to_make(folder)}"
            ) from error
        raise InputError(
            f"{path} has format {shown(version)}, expected {' or '.join(map(str, _VERSIONS))}; {how_to_make(folder)}"
        )

    @classmethod
    def _of(cls, content: Mapping[str, Any], found: _Version1 | _Version2) -> Manifest:
        arrays = {str(name): (str(array.dtype), tuple(array.shape)) for name, array in found.arrays.items()}
        digests = {str(name): of for name, of in found.digests.items()} if isinstance(found, _Version2) else None
        if isinstance(found, _Version2) and _digest(content) != found.sha256:
            raise ValueError("its content has another SHA-256")
        manifest = cls(found.identity, found.image_ids, arrays, found.rows_done, digests)
        manifest._check(found.count)
        return manifest

    def _check(self, count: int) -> None:
        if not len(self.image_ids) == len(set(self.image_ids)) == count:
            raise ValueError(f"image_ids are not {count} different ids")
        if self.rows_done > count:
            raise ValueError(f"rows_done is {self.rows_done} of {count}")
        if "pooled" not in self.arrays and (self.arrays or self.rows_done):
            raise ValueError(f"arrays are {', '.join(self.arrays) or 'none'}")
        shapes = {name: shape for name, (_, shape) in self.arrays.items()}
        pooled, grid = shapes.get("pooled", ()), shapes.get("grid", ())
        expected = {
            "pooled": pooled[:2],
            "grid": (count, *grid[1:2], *pooled[1:]),
            "mask": grid[:2],
            "words": (count, *shapes.get("words", ())[1:2]),
            "files": (count, 6),
        }
        for name, (dtype, shape) in self.arrays.items():
            if dtype not in DTYPES[name] or shape[0] != count or shape != expected[name]:
                raise ValueError(f"{name} is {dtype} {shown(shape)}, beside {shown(shapes)}")
        if self.digests is not None and self.rows_done:
            for name, (dtype, shape) in self.arrays.items():
                num_blocks = -(-self.rows_done // rows_per_block(dtype, shape))
                if len(self.digests.get(name, ())) != num_blocks:
                    raise ValueError(f"expected the digests of {num_blocks} blocks of {name}")


_FLOATS = ("float16", "float32")
DTYPES = {"pooled": _FLOATS, "grid": _FLOATS, "mask": ("bool",), "words": _FLOATS, "files": ("uint64",)}
"""The possible types of each array."""


def _digest(content: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of a manifest's content without that digest."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def check_ids(image_ids: Sequence[ImageId]) -> None:
    """Check that image ids can name the rows of a store.

    Raises:
        InputError: there are no ids, some are neither int nor str, or some are duplicates.
    """
    if not image_ids:
        raise InputError("no images to store features of; expected at least one")
    odd = [image_id for image_id in image_ids if type(image_id) not in (int, str)]
    if odd:
        raise InputError(f"{len(odd)} of {len(image_ids)} image ids are no int or str: {some(odd)}")
    twice = [image_id for image_id, count in Counter(image_ids).items() if count > 1]
    if twice:
        raise InputError(f"{len(twice)} of {len(image_ids)} image ids are there more than once: {some(twice)}")


def identity_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Describe the differences between two identities. Nested keys are joined by dots."""
    a, b = flat(there), flat(here)
    return [
        f"{key} is {_short(a.get(key))} there and {_short(b.get(key))} here"
        for key in dict.fromkeys([*b, *a])
        if a.get(key) != b.get(key)
    ]


def id_differences(there: Sequence[ImageId], here: Sequence[ImageId]) -> list[str]:
    """Describe the differences between two lists of image ids."""
    if list(there) == list(here):
        return []
    new, gone = sorted(set(here) - set(there), key=str), sorted(set(there) - set(here), key=str)
    if not new and not gone:
        return ["the images are in another order"]
    return [
        f"it is for {len(there)} images, not these {len(here)}: "
        f"{len(new)} new ({some(new)}), {len(gone)} gone ({some(gone)})"
    ]


def how_to_make(folder: Path) -> str:
    """Name the command that makes the store of one split in `folder`."""
    return f"make it with `captioning extract features={folder.parent}` and the settings of data and encoder"


def some(ids: Sequence[object]) -> str:
    """List the first three, for a message."""
    return ", ".join(_quoted(image_id) for image_id in ids[:3]) + (", ..." if len(ids) > 3 else "") or "none"


def _quoted(value: object) -> str:
    return f"'{shown(value)}'" if isinstance(value, str) else shown(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:12]}..."  # a digest
