"""Files of references and of results, in the forms that the field uses.

References: COCO's official captions JSON (Chen et al. 2015, arXiv:1504.00325), Karpathy's JSON, or a plain mapping

    {"images": [...], "annotations": [{"image_id": 42, "caption": "a dog"}, ...]}
    {"images": [{"cocoid": 42, "split": "test", "sentences": [{"raw": "a dog"}, ...]}, ...]}
    {"42": ["a dog", "the dog"], ...}

Results: COCO's results format, or a plain mapping

    [{"image_id": 42, "caption": "a dog"}, ...]
    {"42": "a dog", ...}

Both may also be JSON lines or tables, with the keys or columns in `formats.py`. An image in several lines has several
references. Lines of text are captions too, as is usual for translations, and a line's number, from 1, is the id. Any of
these files may be gzipped.

JSON's keys are strings, so an id in digits is read as a whole number, in all files. Results may name images by their
files, with or without folder and suffix, where references have ids, and the reverse; see `image_names.py`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captioning.errors import InputError, shown
from captioning.json_files import Record, records
from captioning.metrics.formats import ID_NAMES, Json, Lines, Records, is_record, read_content

ImageId = int | str


def read_references(path: str | Path, split: str | None = None) -> dict[ImageId, list[str]]:
    """Read the references of each image, in the file's order.

    Args:
        path: a file of one of the forms.
        split: the split of Karpathy's JSON to read, if it has more than one; "train" does not include restval.

    Raises:
        InputError: the file is missing or of another form, an image has no caption, or a split is needed and not given,
            or given and not in the file.
    """
    references = _read_references(Path(path), split)
    if without := [image_id for image_id, group in references.items() if not group]:
        raise InputError(
            f"{shown(path, 300)}: images without a caption: {listing(without)}; add captions or remove them"
        )
    return references


def read_some_references(path: str | Path, split: str | None = None) -> dict[ImageId, list[str]]:
    """Read references as `read_references` does, and leave out images without a caption.

    Raises:
        InputError: the file is missing or of another form, or a split is needed and not given, or given and not in the
            file.
    """
    return {image_id: group for image_id, group in _read_references(Path(path), split).items() if group}


def _read_references(path: Path, split: str | None) -> dict[ImageId, list[str]]:
    content, where = read_content(path, drop=("tokens", "sentids", "licenses")), shown(path, 300)
    if isinstance(content, Json) and _is_karpathy(content.value):
        return _karpathy(where, content.value, split)
    if split is not None:
        raise InputError(f"{where}: split='{shown(split)}', but only Karpathy's JSON has splits; leave it out")
    match content:
        case Lines(lines):
            return {number: [line] for number, line in enumerate(lines, 1)}
        case Records(rows):
            return _grouped(where, rows)
        case Json(dict(data)):
            return _coco(where, data) if "annotations" in data else _mapping(where, data)
    raise InputError(
        f"{where}: expected references, COCO's captions JSON, Karpathy's, or a list of strings for each image id; "
        f"found a {type(content.value).__name__}. The references come first, then the results"
    )


def read_results(path: str | Path) -> dict[ImageId, str]:
    """Read the caption of each image, in the file's order.

    Raises:
        InputError: the file is missing or of another form, or images have two captions; the message lists them.
    """
    content, where = read_content(Path(path)), shown(path, 300)
    match content:
        case Lines(lines):
            return dict(enumerate(lines, 1))
        case Records(rows):
            pairs = [(_checked_id(image_id, "the image", place), caption) for place, image_id, caption in rows]
        case Json(data):
            pairs = _results(where, data)
    results: dict[ImageId, Any] = dict(pairs)
    if not results:
        raise InputError(f"{where}: expected the caption of at least one image, found none")
    if len(results) != len(pairs):
        doubled = [image_id for image_id, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise InputError(f"{where}: images with two captions: {listing(doubled)}; keep one of each")
    if wrong := [image_id for image_id, caption in results.items() if not isinstance(caption, str)]:
        raise InputError(f"{where}: expected one string as the caption of each image; not so for {listing(wrong)}")
    return results


def _results(where: str, data: Any) -> list[tuple[ImageId, Any]]:
    if is_record(data):
        data = [data]  # the only line of JSON lines
    if not isinstance(data, dict | list) or not data or (isinstance(data, dict) and "images" in data):
        found = "references" if isinstance(data, dict) and data else shown(json.dumps(data), 40)
        raise InputError(
            f"{where}: expected captions, [{{image_id, caption}}, ...] or {{id: caption, ...}}; found {found}. The "
            "references come first, then the results"
        )
    if isinstance(data, dict):
        return [(_as_id(key), caption) for key, caption in data.items()]
    listed = records({"results": data}, "results", {"caption": str}, where)
    keys = [next((name for name in ID_NAMES if name in record), "image_id") for record in listed]
    return [
        (_id(record, key, f"{where}: results[{i}]"), record["caption"])
        for i, (record, key) in enumerate(zip(listed, keys, strict=True))
    ]


def has_splits(path: str | Path) -> bool:
    """Say whether a file of references is Karpathy's JSON, which has several splits.

    Raises:
        InputError: the file cannot be read.
    """
    content = read_content(Path(path), drop=("tokens", "sentids", "licenses", "sentences"))
    return isinstance(content, Json) and _is_karpathy(content.value)


def find_images(path: str | Path, folder: str | Path, image_ids: Sequence[ImageId]) -> list[Path]:
    """Find the file of each image.

    COCO's and Karpathy's JSON name the files; Karpathy's also names a folder, such as val2014, in which a file may be.
    With other references a file's name is the image's id, alone or with .jpg or .png.

    Args:
        path: a file of references, as for `read_references`.
        folder: the folder of the images.
        image_ids: the image ids of the references.

    Returns:
        A file per image, in the order of the ids.

    Raises:
        InputError: images are missing; the message lists them. Or COCO's JSON does not name its files.
    """
    folder = Path(folder)
    given = file_names(path)
    names = {i: given.get(i, [f"{i}{suffix}" for suffix in ("", ".jpg", ".png")]) for i in image_ids}
    if outside := [i for i, own in names.items() if not all(map(_is_inside, own))]:
        raise InputError(
            f"{shown(path, 300)}: expected names of files inside the folder of images; not so for {listing(outside)}"
        )
    found = {i: [folder / name for name in own if (folder / name).is_file()] for i, own in names.items()}
    if missing := [i for i in image_ids if not found[i]]:
        wrong = "expected a file for each image" if folder.is_dir() else "no such folder of images"
        raise InputError(
            f"{shown(folder, 300)}: {wrong}; of {len(image_ids)} images those without one: "
            f"{listing(missing)}; the first was looked for as "
            f"{shown(' and '.join(names[missing[0]]))}"
        )
    return [found[i][0] for i in image_ids]


def check_same_images(references: Mapping[ImageId, Sequence[str]], captions: Mapping[ImageId, str]) -> None:
    """Check that there is one caption for each image.

    Raises:
        InputError: the ids differ; the message lists them.
    """
    missing = [image_id for image_id in references if image_id not in captions]
    unknown = [image_id for image_id in captions if image_id not in references]
    if missing or unknown:
        alike = set(map(str, missing)) & set(map(str, unknown))
        raise InputError(
            f"expected one caption for each of the {len(references)} images with references; those without a caption: "
            f"{listing(missing)}; captions without references: {listing(unknown)}"
            + ("; ids must match in type too: 1 is not '1'" if alike else "")
        )


def subset(references: Mapping[ImageId, list[str]], results: Mapping[ImageId, str]) -> dict[ImageId, list[str]]:
    """Select the references of the images that have a caption.

    Raises:
        InputError: the image of a caption has no references.
    """
    if unknown := [image_id for image_id in results if image_id not in references]:
        raise InputError(
            f"captions without references: {listing(unknown)}; remove them, or choose the right references"
        )
    return {image_id: group for image_id, group in references.items() if image_id in results}


def listing(ids: Sequence[ImageId]) -> str:
    """Write how many ids there are, and the first ten."""
    if not ids:
        return "0"
    first = ", ".join(f"'{shown(i)}'" if isinstance(i, str) else shown(i) for i in ids[:10])
    return f"{len(ids)} ({first}{', ...' if len(ids) > 10 else ''})"


def _grouped(where: str, rows: Sequence[tuple[str, Any, Any]]) -> dict[ImageId, list[str]]:
    references: dict[ImageId, list[str]] = {}
    for place, image_id, found in rows:
        captions = [found] if isinstance(found, str) else found
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            raise InputError(f"{place}: expected a caption or a list of captions, found a {type(found).__name__}")
        references.setdefault(_checked_id(image_id, "the image", place), []).extend(captions)
    return _some(where, references)


def _coco(where: str, data: Record) -> dict[ImageId, list[str]]:
    references: dict[ImageId, list[str]] = {}
    if "images" in data:  # in their order; images without a caption are found below
        images = records(data, "images", {}, where)
        references = {_id(image, "id", f"{where}: images[{i}]"): [] for i, image in enumerate(images)}
    for i, annotation in enumerate(records(data, "annotations", {"caption": str}, where)):
        references.setdefault(_id(annotation, "image_id", f"{where}: annotations[{i}]"), []).append(
            annotation["caption"]
        )
    return _some(where, references)


def _karpathy(where: str, data: Record, split: str | None) -> dict[ImageId, list[str]]:
    entries = records(data, "images", {"split": str, "sentences": list}, where)
    splits = Counter(entry["split"] for entry in entries)
    if split is None and len(splits) > 1:
        raise InputError(f"{where}: expected the name of a split ({shown(', '.join(splits))}), found none")
    chosen = [entry for entry in entries if split in (None, entry["split"])]
    if not chosen:
        raise InputError(f"{where}: no image of split {shown(split)}; images by split: {shown(dict(splits))}")
    pairs = [
        (
            _karpathy_id(entry, f"{where}: images[{i}]"),
            [sentence["raw"] for sentence in records(entry, "sentences", {"raw": str}, f"{where}: images[{i}]")],
        )
        for i, entry in enumerate(chosen)
    ]
    references = dict(pairs)
    if len(references) != len(pairs):
        doubled = [image_id for image_id, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise InputError(f"{where}: images that occur twice: {listing(doubled)}; keep one of each")
    return _some(where, references)


def _mapping(where: str, data: Record) -> dict[ImageId, list[str]]:
    if wrong := [
        key for key, group in data.items() if not (isinstance(group, list) and all(isinstance(c, str) for c in group))
    ]:
        raise InputError(
            f"{where}: expected COCO's captions JSON, Karpathy's, or a list of strings for each image id; not so for "
            f"{listing(wrong)}"
        )
    return _some(where, {_as_id(key): group for key, group in data.items()})


def file_names(path: str | Path) -> dict[ImageId, list[str]]:
    """Read where each image's file may be in the folder of images; empty if the references do not name files.

    Raises:
        InputError: the file cannot be read, or one of the images that it lists has no file name.
    """
    content, where = read_content(Path(path), drop=("tokens", "sentids", "licenses", "sentences")), shown(path, 300)
    if not isinstance(content, Json) or "images" not in content.value:
        return {}
    data = content.value
    if "annotations" in data:
        images = records(data, "images", {"file_name": str}, where)
        return {_id(image, "id", f"{where}: images[{i}]"): [image["file_name"]] for i, image in enumerate(images)}
    entries = records(data, "images", {"filename": str}, where)
    return {
        _karpathy_id(entry, f"{where}: images[{i}]"): [
            *([f"{entry['filepath']}/{entry['filename']}"] if "filepath" in entry else []),
            entry["filename"],
        ]
        for i, entry in enumerate(entries)
    }


def _some(where: str, references: dict[ImageId, list[str]]) -> dict[ImageId, list[str]]:
    if not references:
        raise InputError(f"{where}: expected captions of at least one image, found none")
    return references


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _is_karpathy(data: Any) -> bool:
    return isinstance(data, dict) and "images" in data and "annotations" not in data


def _karpathy_id(entry: Record, where: str) -> ImageId:
    return _id(entry, "cocoid" if "cocoid" in entry else "filename", where)


def _id(record: Record, key: str, where: str) -> ImageId:
    return _checked_id(record.get(key), f"'{key}'", where, f" (keys: {shown(', '.join(record))})")


def _checked_id(found: Any, what: str, where: str, note: str = "") -> ImageId:
    if not isinstance(found, int | str) or isinstance(found, bool) or found == "":
        raise InputError(f"{where}: expected {what}, a whole number or a string, found {shown(repr(found))}{note}")
    return _as_id(found)


def _as_id(key: int | str) -> ImageId:
    return int(key) if isinstance(key, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,17}", key) else key
