"""Splits of one's own images: named in a column, in lists, or made from a seed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioning.data.readers.caption_rows import CaptionRow
from captioning.data.readers.image_names import ImageNames, stem
from captioning.errors import InputError, shown
from captioning.files.digests import sha256
from captioning.files.text_files import read_text

SPLITS = ("train", "val", "test")
_SYNONYMS = {"training": "train", "dev": "val", "valid": "val", "validation": "val", "testing": "test"}


def named_splits(rows: Sequence[tuple[str, CaptionRow]]) -> dict[str, str]:
    """Read the splits that rows name.

    Args:
        rows: each with its image.

    Returns:
        The split of each image; empty if the rows name none.

    Raises:
        InputError: a row names no known split, or two rows name different ones for the same image.
    """
    splits = dict[str, str]()
    for image, row in rows:
        if row.split is not None:
            plain = row.split.strip().lower()
            split = _SYNONYMS.get(plain, plain)
            if split not in SPLITS:
                raise InputError(f"{row.place}: no split {shown(row.split)!r}; expected train, val or test")
            if splits.setdefault(image, split) != split:
                raise InputError(
                    f"{row.place}: {shown(image)} is in {split}, and in {splits[image]} before; correct one of them"
                )
    return splits


def read_lists(root: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Read the lists of splits in a folder: train.txt, val.txt and test.txt, with an image's name in each line.

    Args:
        root: the folder.
        names: its images. The text file beside an image of the same name is no list.

    Returns:
        The names in each list that there is, by its split.

    Raises:
        InputError: a list is not UTF-8.
    """
    stems = {stem(name) for name in names}
    files = {split: root / f"{split}.txt" for split in SPLITS if split not in stems}
    return {
        split: [line.strip() for line in read_text(file).split("\n") if line.strip()]
        for split, file in files.items()
        if file.is_file()
    }


def listed_splits(
    lists: Mapping[str, Sequence[str]], images: ImageNames, captions: Mapping[str, object]
) -> dict[str, str]:
    """Return the split of each image that lists name.

    Args:
        lists: see `read_lists`.
        images: the folder's images.
        captions: by the images that have any.

    Raises:
        InputError: a listed image has no captions, or is in two lists.
    """
    splits = dict[str, str]()
    for split, listed in lists.items():
        for given in listed:
            image = images.find(given, f"{split}.txt")
            if image not in captions:
                raise InputError(f"{split}.txt: {shown(given)} has no caption; remove it, or add captions")
            if splits.setdefault(image, split) != split:
                raise InputError(f"{split}.txt: {shown(given)} is also in {splits[image]}.txt; remove it from one")
    return splits


def made_splits(
    names: Sequence[str], copies: Sequence[Sequence[str]], *, seed: int, val_share: float, test_share: float
) -> dict[str, str]:
    """Make splits. They depend on the seed and on the names alone, and not on their order.

    Args:
        names: the images.
        copies: groups of identical images, which stay in one split.
        seed: another one gives other splits.
        val_share: the share of the images in val, at least one image.
        test_share: the same for test; 0 for no test split.

    Returns:
        The split of each image.

    Raises:
        InputError: no image is left for training.
    """
    group_of = {name: tuple(group) for group in copies for name in group}
    groups = {group_of.get(name, (name,)) for name in names}
    shares = {"val": val_share, "test": test_share}
    left = {split: max(1, round(share * len(names))) if share else 0 for split, share in shares.items()}
    splits = dict[str, str]()
    # Sorting by hash gives the same order in every version of every library, unlike a random shuffle.
    for group in sorted(groups, key=lambda own: hashlib.sha256(f"{seed}/{min(own)}".encode()).digest()):
        split = next((split for split, count in left.items() if count > 0), "train")
        left[split] = left.get(split, 0) - len(group)
        splits |= dict.fromkeys(group, split)
    if "train" not in splits.values():
        raise InputError(
            f"{len(groups):,} different images with captions are too few for the splits train, val and test; add images"
        )
    return {name: splits[name] for name in names}


def identical(root: Path, names: Sequence[str]) -> list[list[str]]:
    """Group the images whose files are identical. Only files of equal size are read."""
    sizes, digests = defaultdict[int, list[str]](list), defaultdict[str, list[str]](list)
    for name in names:
        sizes[(root / name).stat().st_size].append(name)
    for alike in sizes.values():
        for name in alike if len(alike) > 1 else ():
            digests[sha256(root / name)].append(name)
    return [group for group in digests.values() if len(group) > 1]
