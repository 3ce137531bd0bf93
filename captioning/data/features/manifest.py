"""The manifest of a feature store, and the differences between two stores."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioning.errors import InputError
from captioning.json_files import flat

ImageId = int | str

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        identity: everything that the features depend on, from `Encoder.identity`.
        image_ids: the image id of every row, in order, without duplicates.
        arrays: dtype and shape of each file, keyed by its stem: pooled, grid, mask.
        rows_done: number of rows that are safely on disk.
    """

    identity: Mapping[str, Any]
    image_ids: Sequence[ImageId]
    arrays: Mapping[str, tuple[str, tuple[int, ...]]]
    rows_done: int

    def write(self, folder: Path) -> None:
        """Replace the file atomically, so that an interruption leaves the old file or the new one."""
        content = {
            "format_version": FORMAT_VERSION,
            "identity": self.identity,
            "count": len(self.image_ids),
            "rows_done": self.rows_done,
            "arrays": {name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in self.arrays.items()},
            "image_ids": self.image_ids,
        }
        new = folder / "manifest.json.new"
        with new.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content))
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / "manifest.json")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check a folder's manifest.

        Raises:
            InputError: the manifest does not exist, has another format version, or is damaged.
        """
        path = folder / "manifest.json"
        try:
            content = json.loads(path.read_bytes())
            if content["format_version"] != FORMAT_VERSION:
                raise InputError(
                    f"{path} has format {content['format_version']!r}, expected {FORMAT_VERSION}; {how_to_make(folder)}"
                )
            arrays = {
                name: (str(array["dtype"]), tuple(map(int, array["shape"])))
                for name, array in content["arrays"].items()
            }
            manifest = cls(dict(content["identity"]), content["image_ids"], arrays, int(content["rows_done"]))
            manifest._check(content["count"])
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(f"{folder} is no feature store; {how_to_make(folder)}") from error
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise InputError(f"{path} is damaged ({reason}); delete {folder} and {how_to_make(folder)}") from error
        return manifest

    def _check(self, count: object) -> None:
        ids = self.image_ids
        if not (isinstance(ids, list) and ids and len(ids) == len(set(ids)) == count):
            raise ValueError(f"image_ids are not {count} different ids")
        if not 0 <= self.rows_done <= len(ids):
            raise ValueError(f"rows_done is {self.rows_done} of {count}")
        if "pooled" not in self.arrays or not self.arrays.keys() <= {"pooled", "grid", "mask"}:
            raise ValueError(f"arrays are {', '.join(self.arrays) or 'none'}")


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
    return ", ".join(map(repr, ids[:3])) + (", ..." if len(ids) > 3 else "") or "none"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:12]}..."  # a digest
