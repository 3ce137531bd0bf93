"""Find the image that a caption's key names: results may have file names where references have ids, or the reverse."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioning.errors import InputError
from captioning.metrics.files import ImageId, file_names, listing


def match_ids(
    path: str | Path, references: Mapping[ImageId, Sequence[str]], results: Mapping[ImageId, str]
) -> dict[ImageId, str]:
    """Replace file names in results by the references' ids, or ids by the references' file names.

    An image is known by its id, by the file names in COCO's and Karpathy's JSON, and by these without folder, without
    suffix, and without leading zeros. A key that already is an id of the references stays, and so does one that fits no
    image.

    Args:
        path: the file of the references.
        references: what was read from it.
        results: captions by id or file name.

    Raises:
        InputError: a key fits several images, or two keys fit the same image.
    """
    if all(key in references for key in results):
        return dict(results)
    names = _given_names(Path(path))
    owners: dict[str, set[ImageId]] = {}
    for image_id in references:
        for name in (image_id, *names.get(image_id, ())):
            for alias in _aliases(name):
                owners.setdefault(alias, set()).add(image_id)
    keys: dict[ImageId, ImageId] = {}
    matched: dict[ImageId, str] = {}
    for key, caption in results.items():
        fitting = next((owners[alias] for alias in _aliases(key) if alias in owners), {key})
        image_id = key if key in references else min(fitting, key=str)
        if len(fitting) > 1 and image_id != key:
            raise InputError(
                f"{listing([key])} fits several images of the references: {listing(sorted(fitting, key=str))}"
            )
        if image_id in keys:
            raise InputError(
                f"two captions of the image {listing([image_id])}: {listing([keys[image_id], key])}; keep one"
            )
        keys[image_id], matched[image_id] = key, caption
    return matched


def _given_names(path: Path) -> dict[ImageId, list[str]]:
    if not path.is_file():  # a pipe can be read only once
        return {}
    try:
        return file_names(path)
    except InputError:  # COCO's JSON may name no files, and then ids alone count
        return {}


def _aliases(name: ImageId) -> list[str]:
    """List what an image may be called: as it is, without folder, without suffix, without leading zeros."""
    file = re.split(r"[/\\]", str(name))[-1]
    stem = re.sub(r"\.(jpe?g|png|gif|bmp|webp|tiff?|heic|avif)$", "", file, flags=re.IGNORECASE)
    return [str(name), file, stem, re.sub(r"^0+(?=[0-9]+$)", "", stem)]
