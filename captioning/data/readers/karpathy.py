"""Read Karpathy and Fei-Fei's splits, one JSON file with all images and captions of Flickr8k, Flickr30k or COCO.

Source: Karpathy and Fei-Fei 2015, "Deep Visual-Semantic Alignments" (arXiv:1412.2306), section 4.

    dataset_{flickr8k,flickr30k,coco}.json
    {"images": [{"filename": ..., "split": "train", "sentences": [{"raw": ...}, ...],
                 "filepath": "val2014", "cocoid": 391895}, ...]}       (the last two only for COCO)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

from captioning.data.example import CaptionedImage
from captioning.data.image_files import require_files
from captioning.errors import InputError, shown
from captioning.files.inside import inside
from captioning.json_files import Record, read_json, records

_ARCHIVE = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
# COCO's restval is the rest of val2014, without the 5,000 images each of val and test. It is used for training.
_PARTS = {"train": ("train", "restval"), "val": ("val",), "test": ("test",)}


@dataclass(frozen=True)
class Karpathy:
    """A reader of any data set that is described by a JSON file of Karpathy's form, such as Flickr30k.

    Attributes:
        json: the file.
        root: the folder of the images.
        hint: the advice in the error message if there is no such file. None: the message names where Karpathy's are.
    """

    json: str
    root: str
    hint: str | None = None

    @property
    def name(self) -> str:
        """The data set's name, from the file name: flickr30k for dataset_flickr30k.json."""
        return Path(self.json).stem.removeprefix("dataset_")

    def read(self, split: str, *, check_files: bool = True) -> list[CaptionedImage]:
        """See `captioning.data.splits.Reader`."""
        if self.hint is not None and not Path(self.json).is_file():
            raise InputError(f"{self.json}: no such file; {self.hint}")
        return read_karpathy(self.json, self.root, split, check_files=check_files)


def read_karpathy(
    json_path: str | Path, images_root: str | Path, split: str, *, check_files: bool = True
) -> list[CaptionedImage]:
    """Read one split.

    Args:
        json_path: the JSON file.
        images_root: the image folder; for COCO the folder that contains `train2014/` and `val2014/`.
        split: "train" (with restval), "val" or "test".
        check_files: whether to check that every image file of the split exists.

    Returns:
        The images in the file's order. `image_id` is COCO's integer, or the file name for Flickr. `captions` are the
        raw sentences.

    Raises:
        InputError: the file is missing or has another format, the split has no images, an image has no caption or no
            file, or its name leads out of `images_root`. The message gives the position in the file.
    """
    json_path, images_root = Path(json_path), Path(images_root)
    if split not in _PARTS:
        raise InputError(f"split={split!r}: Karpathy's splits are train, val and test")
    entries = _read_entries(json_path, split)
    images = [
        CaptionedImage(
            _image_id(entry),
            inside(images_root, os.path.join(entry.filepath or "", entry.filename), json_path),  # noqa: PTH118
            _captions(entry, f"{json_path}: images[{i}]"),
        )
        for i, entry in enumerate(entries)
        if entry.split in _PARTS[split]
    ]
    if not images:
        found = dict(Counter(entry.split for entry in entries))
        raise InputError(f"{json_path}: no image of split {split}; images by split: {found}")
    if check_files:
        require_files([image.path for image in images], json_path)
    return images


class _Sentence(msgspec.Struct, frozen=True, gc=False):
    raw: str


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """An image of the file; `sentences` may be empty if it is of another split."""

    filename: str
    split: str
    sentences: list[_Sentence]
    cocoid: int | msgspec.UnsetType = msgspec.UNSET
    filepath: str | msgspec.UnsetType = msgspec.UNSET


class _File(msgspec.Struct):
    images: list[_Entry]


def _read_entries(file: Path, split: str) -> Sequence[_Entry]:
    if not file.is_file():
        raise InputError(
            f"{file}: no such file, expected Karpathy's JSON; unpack {_ARCHIVE}, and set "
            "data.karpathy=FILE (Flickr30k: data.json=FILE)"
        )
    status = file.stat()
    entries = _decoded_once(file, status.st_mtime_ns, status.st_size) or _checked(file, split)
    known = {part for parts in _PARTS.values() for part in parts}
    unknown = {entry.split for entry in entries} - known
    if unknown:
        raise InputError(f"{file}: unknown splits {shown(sorted(unknown))}; expected {', '.join(sorted(known))}")
    doubled = [image_id for image_id, count in Counter(map(_image_id, entries)).items() if count > 1]
    if doubled:
        raise InputError(f"{file}: {len(doubled):,} images occur twice, the first is {shown(doubled[0])}; keep one")
    return entries


@lru_cache(maxsize=1)
def _decoded_once(file: Path, changed: int, size: int) -> list[_Entry] | None:  # noqa: ARG001 (they are part of the key)
    """Decode the file for all of its splits, and again when it has another time of change or size."""
    return _decoded(file)


def _decoded(file: Path) -> list[_Entry] | None:
    """Decode the file, COCO's in about a second and without what is not used.

    Returns:
        The images; None if anything is unusual, such as a repeated key. `_checked` then reads it or says what is wrong.
    """
    try:
        content = file.read_bytes()
        entries = msgspec.json.decode(content, type=_File).images
    except (OSError, ValueError, RecursionError):
        return None
    num_images, num_ids = len(entries), sum(entry.cocoid is not msgspec.UNSET for entry in entries)
    num_keys = {
        "images": 1,
        **dict.fromkeys(("filename", "split", "sentences"), num_images),
        **dict.fromkeys(("cocoid", "filepath"), num_images if num_ids else 0),
        "raw": sum(len(entry.sentences) for entry in entries),
    }
    usual = all(content.count(f'"{key}":'.encode()) == count for key, count in num_keys.items())
    return entries if usual else None


def _checked(file: Path, split: str) -> Sequence[_Entry]:
    """Read the file with a check of each field, whose message says where it is wrong."""
    data = read_json(file, drop=("tokens", "sentids"))  # most of the memory of a parsed file
    entries = records(data, "images", {"filename": str, "split": str, "sentences": list}, str(file))
    for field, kind in (("cocoid", int), ("filepath", str)):
        if any(field in entry for entry in entries):
            records(data, "images", {field: kind}, str(file))
    return [
        _Entry(
            entry["filename"],
            entry["split"],
            _sentences(entry, f"{file}: images[{i}]") if entry["split"] in _PARTS[split] else [],
            entry.get("cocoid", msgspec.UNSET),
            entry.get("filepath", msgspec.UNSET),
        )
        for i, entry in enumerate(entries)
    ]


def _sentences(entry: Record, where: str) -> list[_Sentence]:
    return [_Sentence(sentence["raw"]) for sentence in records(entry, "sentences", {"raw": str}, where)]


def _image_id(entry: _Entry) -> int | str:
    return entry.filename if entry.cocoid is msgspec.UNSET else entry.cocoid


def _captions(entry: _Entry, where: str) -> tuple[str, ...]:
    captions = tuple([sentence.raw for sentence in entry.sentences])
    if not captions or not all(map(str.strip, captions)):
        raise InputError(
            f"{where} ({shown(entry.filename)}): {'an empty caption' if captions else 'no caption'}; "
            "add a caption, or remove this entry"
        )
    return captions
