"""Files of references and of results, in the forms that the field uses.

References: COCO's official captions JSON (Chen et al. 2015, arXiv:1504.00325), Karpathy's JSON, or a plain mapping

    {"images": [...], "annotations": [{"image_id": 42, "caption": "a dog"}, ...]}
    {"images": [{"cocoid": 42, "split": "test", "sentences": [{"raw": "a dog"}, ...]}, ...]}
    {"42": ["a dog", "the dog"], ...}

Results: COCO's results format, or a plain mapping

    [{"image_id": 42, "caption": "a dog"}, ...]
    {"42": "a dog", ...}

JSON's keys are strings, so an id in digits is read as a whole number, in both files.
A file whose name does not end in .json, such as `test.en` or `test.txt.gz`, is text, plain or gzipped, as is usual for
translations. Each line is a caption, and its number, from 1, is the id.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioning.errors import InputError
from captioning.json_files import Record, read_any_json, records

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
    path = Path(path)
    if _is_text(path):
        if split is not None:
            raise InputError(f"{path}: split={split!r}, but only Karpathy's JSON has splits; leave it out")
        return {number: [line] for number, line in _lines(path).items()}
    data = read_any_json(path, drop=("tokens", "sentids", "licenses"))
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: expected references, COCO's captions JSON, Karpathy's, or a list of strings for each image id; "
            f"found a {type(data).__name__}. The references come first, then the results"
        )
    if "annotations" not in data and "images" in data:
        return _karpathy(path, data, split)
    if split is not None:
        raise InputError(f"{path}: split={split!r}, but only Karpathy's JSON has splits; leave it out")
    return _coco(path, data) if "annotations" in data else _mapping(path, data)


def read_results(path: str | Path) -> dict[ImageId, str]:
    """Read the caption of each image, in the file's order.

    Raises:
        InputError: the file is missing or of another form, or images have two captions; the message lists them.
    """
    path = Path(path)
    if _is_text(path):
        return _lines(path)
    data = read_any_json(path)
    if not isinstance(data, dict | list) or not data or (isinstance(data, dict) and "images" in data):
        found = "references" if isinstance(data, dict) and data else f"{json.dumps(data)[:40]}"
        raise InputError(
            f"{path}: expected captions, [{{image_id, caption}}, ...] or {{id: caption, ...}}; found {found}. The "
            "references come first, then the results"
        )
    if isinstance(data, dict):
        pairs = list(data.items())
    else:
        listed = records({"results": data}, "results", {"caption": str}, str(path))
        where = (f"{path}: results[{i}]" for i in range(len(listed)))
        pairs = [
            (_id(record, "image_id", entry), record["caption"]) for record, entry in zip(listed, where, strict=True)
        ]
    results = {_as_id(image_id): caption for image_id, caption in pairs}
    if len(results) != len(pairs):
        doubled = [image_id for image_id, count in Counter(_as_id(key) for key, _ in pairs).items() if count > 1]
        raise InputError(f"{path}: images with two captions: {listing(doubled)}; keep one of each")
    if wrong := [image_id for image_id, caption in results.items() if not isinstance(caption, str)]:
        raise InputError(f"{path}: expected one string as the caption of each image; not so for {listing(wrong)}")
    return results


def _is_text(path: Path) -> bool:
    return path.suffix.lower() not in (".json", "")  # a pipe's name has no suffix; pipes contain JSON


def _lines(path: Path) -> dict[ImageId, str]:
    from captioning.text.lines import read_lines  # imports tokenizers, which only files of lines need

    lines: dict[ImageId, str] = dict(read_lines(path))
    if not lines:
        raise InputError(f"{path}: expected a caption in each line; the file is empty")
    return lines


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
    given = _file_names(Path(path))
    names = {i: given.get(i, [f"{i}{suffix}" for suffix in ("", ".jpg", ".png")]) for i in image_ids}
    found = {i: [folder / name for name in own if (folder / name).is_file()] for i, own in names.items()}
    if missing := [i for i in image_ids if not found[i]]:
        raise InputError(
            f"{folder}: {'no such folder of images' if not folder.is_dir() else 'expected a file for each image'}; "
            f"of {len(image_ids)} images those without one: {listing(missing)}; the first was looked for as "
            f"{' and '.join(names[missing[0]])}"
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
    shown = ", ".join(map(repr, ids[:10]))
    return f"{len(ids)} ({shown}{', ...' if len(ids) > 10 else ''})"


def _coco(path: Path, data: Record) -> dict[ImageId, list[str]]:
    references: dict[ImageId, list[str]] = {}
    if "images" in data:  # in their order; images without a caption are found below
        images = records(data, "images", {}, str(path))
        references = {_id(image, "id", f"{path}: images[{i}]"): [] for i, image in enumerate(images)}
    for i, annotation in enumerate(records(data, "annotations", {"caption": str}, str(path))):
        references.setdefault(_id(annotation, "image_id", f"{path}: annotations[{i}]"), []).append(
            annotation["caption"]
        )
    return _checked(path, references)


def _karpathy(path: Path, data: Record, split: str | None) -> dict[ImageId, list[str]]:
    entries = records(data, "images", {"split": str, "sentences": list}, str(path))
    splits = Counter(entry["split"] for entry in entries)
    if split is None and len(splits) > 1:
        raise InputError(f"{path}: expected the name of a split ({', '.join(splits)}), found none")
    chosen = [entry for entry in entries if split in (None, entry["split"])]
    if not chosen:
        raise InputError(f"{path}: no image of split {split}; images by split: {dict(splits)}")
    pairs = [
        (
            _karpathy_id(entry, f"{path}: images[{i}]"),
            [sentence["raw"] for sentence in records(entry, "sentences", {"raw": str}, f"{path}: images[{i}]")],
        )
        for i, entry in enumerate(chosen)
    ]
    references = dict(pairs)
    if len(references) != len(pairs):
        doubled = [image_id for image_id, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise InputError(f"{path}: images that occur twice: {listing(doubled)}; keep one of each")
    return _checked(path, references)


def _mapping(path: Path, data: Record) -> dict[ImageId, list[str]]:
    if wrong := [
        key for key, group in data.items() if not (isinstance(group, list) and all(isinstance(c, str) for c in group))
    ]:
        raise InputError(
            f"{path}: expected COCO's captions JSON, Karpathy's, or a list of strings for each image id; not so for "
            f"{listing(wrong)}"
        )
    return _checked(path, {_as_id(key): group for key, group in data.items()})


def _file_names(path: Path) -> dict[ImageId, list[str]]:
    """Read where each image's file may be in the folder of images; empty if the references do not name files."""
    data = {} if _is_text(path) else read_any_json(path, drop=("tokens", "sentids", "licenses", "sentences"))
    if "images" not in data:
        return {}
    if "annotations" in data:
        images = records(data, "images", {"file_name": str}, str(path))
        return {_id(image, "id", f"{path}: images[{i}]"): [image["file_name"]] for i, image in enumerate(images)}
    entries = records(data, "images", {"filename": str}, str(path))
    return {
        _karpathy_id(entry, f"{path}: images[{i}]"): [
            *([f"{entry['filepath']}/{entry['filename']}"] if "filepath" in entry else []),
            entry["filename"],
        ]
        for i, entry in enumerate(entries)
    }


def _checked(path: Path, references: dict[ImageId, list[str]]) -> dict[ImageId, list[str]]:
    if not references:
        raise InputError(f"{path}: expected captions of at least one image, found none")
    if without := [image_id for image_id, group in references.items() if not group]:
        raise InputError(f"{path}: images without a caption: {listing(without)}; add captions or remove them")
    return references


def _karpathy_id(entry: Record, where: str) -> ImageId:
    return _id(entry, "cocoid" if "cocoid" in entry else "filename", where)


def _id(record: Record, key: str, where: str) -> ImageId:
    found = record.get(key)
    if not isinstance(found, int | str) or isinstance(found, bool):
        raise InputError(
            f"{where}: expected '{key}', a whole number or a string, found {found!r} (keys: {', '.join(record)})"
        )
    return _as_id(found)


def _as_id(key: int | str) -> ImageId:
    return int(key) if isinstance(key, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,17}", key) else key
