"""Read the rows of a user's own file of captions, whatever its form and the names of its columns.

captions.csv     image,caption,split                 also with semicolons, tabs or bars; .tsv and .txt too
captions.jsonl   {"image": "a.jpg", "caption": "A dog runs"}                 one object in each line
captions.json    [{"image": "a.jpg", "caption": ["A dog runs", "A dog"]}]    a list of such objects
                 {"a.jpg": ["A dog runs", "A dog"]}                          the captions of each image
                 {"images": [..], "annotations": [..]}                       COCO's form
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from captioning.data.readers.caption_table import quoted_rows
from captioning.errors import InputError, shown
from captioning.files.text_files import read_text
from captioning.json_files import Record, parse_json, read_any_json, records

IMAGES = (
    "file_name", "filename", "image_path", "image_file", "image_name", "image", "img", "path", "file", "image_id",
)  # fmt: skip
CAPTIONS = ("caption", "captions", "text", "sentence", "sentences", "description", "comment", "comments")
SPLITS = ("split", "subset", "partition")
"""The usual names of the columns. If a file has several of them, the first one here is taken."""
_COLUMNS = {"image": IMAGES, "caption": CAPTIONS, "split": SPLITS}
_SEPARATORS = ",;\t|"


class Columns(NamedTuple):
    """The names of a file's columns, or of its objects' keys; None for any of the usual names."""

    image: str | None = None
    caption: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """What one row says of an image.

    Attributes:
        place: the row's place in the file, for messages, such as "captions.csv:3".
        image: the image's name.
        captions: its captions, of which some may be empty.
        split: the name of its split; None if the file names no splits.
    """

    place: str
    image: str
    captions: tuple[str, ...]
    split: str | None


@dataclass(frozen=True, slots=True)
class CaptionRows:
    """The content of a file of captions.

    Attributes:
        rows: in the order of the file.
        columns: the names that were found. Only the split's may be None, if there is none.
    """

    rows: list[CaptionRow]
    columns: Columns


def read_caption_rows(file: Path, columns: Columns) -> CaptionRows:
    """Read a file of captions.

    Args:
        file: a CSV, TSV, JSON Lines or JSON file in UTF-8, by its suffix. Its form is one of those above.
        columns: the names of columns that have none of the usual names; None for the others.

    Raises:
        InputError: the file cannot be read or is broken, has no such column, or a value is of the wrong type. The
            message names the line, or the columns that were found.
    """
    read = FORMS.get(file.suffix.lower())
    if read is None:
        raise InputError(f"{file}: expected a file of captions that ends in {', '.join(FORMS)}; rename or convert it")
    names, places = read(file)
    found = Columns(*(_column(file, names, what, named) for what, named in columns._asdict().items()))
    rows = [_row(f"{file.name}{place}", record, found) for place, record in places]
    if not rows:
        raise InputError(f"{file}: no captions, expected one in each row; fill in the file, or name another one")
    return CaptionRows(rows, found)


def _column(file: Path, names: Sequence[str], what: str, named: str | None) -> str | None:
    """Return the name of a column; None if the file has no splits."""
    if named is not None:
        if named not in names:
            raise InputError(f"{file}: no column {shown(named)!r}; {_found(names)}; correct data.{what}_column")
        return named
    plain = {_plain(name): name for name in reversed(names)}
    found = next((plain[usual] for usual in _COLUMNS[what] if usual in plain), None)
    if found is None and what != "split":
        raise InputError(
            f"{file}: no column for the {what}, expected one of {', '.join(_COLUMNS[what])}; {_found(names)}; set "
            f"data.{what}_column=NAME, or --{what}-column NAME in captioning check"
        )
    return found


def _found(names: Sequence[str]) -> str:
    return f"it has the columns {shown(', '.join(names), 200)}" if names else "it has no columns"


def _plain(name: str) -> str:
    """Return a column's name as the usual names are spelt: `File Name` is file_name."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _row(place: str, record: Mapping[str, Any], columns: Columns) -> CaptionRow:
    image, captions, split = (None if column is None else record.get(column) for column in columns)
    if not isinstance(image, str) or not image.strip():
        raise InputError(f"{place}: {columns.image} is {shown(repr(image))}, expected the name of an image; correct it")
    texts = [captions] if isinstance(captions, str) or captions is None else captions
    if not isinstance(texts, list) or not all(isinstance(text, str) or text is None for text in texts):
        raise InputError(
            f"{place}: {columns.caption} is {shown(repr(captions))}, expected a text or a list of texts; correct it"
        )
    if columns.split is not None and not (isinstance(split, str) and split.strip()):
        raise InputError(
            f"{place}: {columns.split} is {shown(repr(split))}, expected train, val or test; fill it in for every row"
        )
    return CaptionRow(place, image.strip(), tuple(text or "" for text in texts), split)


# ---- forms of files -------------------------------------------------------------------------------------------------

_Read = tuple[Sequence[str], Sequence[tuple[str, Mapping[str, Any]]]]
"""The names of the columns, and each row with its place in the file."""


def _table(file: Path) -> _Read:
    """Read CSV. The separator is the one that the header has most often."""
    text = read_text(file)
    header = text.partition("\n")[0].rstrip("\r")
    separator = max(_SEPARATORS, key=lambda mark: re.sub(r'"[^"]*"', "", header).count(mark))
    names = next(_fields(file, header, separator), (1, [""]))[1]
    rows = []
    for number, row in quoted_rows(file, text, separator, header):
        if len(row) != len(names):
            raise InputError(
                f"{file}:{number}: expected the {len(names)} fields {shown(header)}, found {len(row)}: "
                f"{shown(separator.join(row))!r}; put a caption with {separator!r} in double quotes"
            )
        rows.append((f":{number}", dict(zip(names, row, strict=True))))
    return names, rows


def _fields(file: Path, header: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the header's fields, as `quoted_rows` reads any row."""
    for number, row in quoted_rows(file, f"\n{header}", separator, header):
        yield number, [name.strip() for name in row]


def _json_lines(file: Path) -> _Read:
    lines = enumerate(read_text(file).split("\n"), 1)
    found = [(f":{n}", parse_json(line, f"{shown(file, 300)}:{n}")) for n, line in lines if line.strip()]
    return _keys(file, found), found


def _json(file: Path) -> _Read:
    content = read_any_json(file)
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        return _of_coco(file, content)
    if isinstance(content, dict):
        by_image = [("", {"image": image, "caption": captions}) for image, captions in content.items()]
        return ("image", "caption"), by_image
    if not isinstance(content, list):
        raise InputError(f"{file}: expected a list of objects, or an object of captions by image; found neither")
    found = [(f"[{n}]", record) for n, record in enumerate(content)]
    return _keys(file, found), found


def _keys(file: Path, found: Sequence[tuple[str, Any]]) -> list[str]:
    """Return the keys of all objects, in the order in which they first occur."""
    for place, record in found:
        if not isinstance(record, dict):
            raise InputError(f'{file}{place}: expected an object such as {{"image": .., "caption": ..}}; correct it')
    return list(dict.fromkeys(key for _, record in found for key in record))


def _of_coco(file: Path, content: Record) -> _Read:
    images = records(content, "images", {"id": int, "file_name": str}, str(file))
    name_of = {image["id"]: image["file_name"] for image in images}
    rows = []
    for n, record in enumerate(records(content, "annotations", {"image_id": int, "caption": str}, str(file))):
        if record["image_id"] not in name_of:
            raise InputError(f"{file}: annotations[{n}]: no image has the id {record['image_id']}; get the file again")
        rows.append((f" annotations[{n}]", {"image": name_of[record["image_id"]], "caption": record["caption"]}))
    return ("image", "caption"), rows


FORMS: Mapping[str, Callable[[Path], _Read]] = {
    ".csv": _table,
    ".tsv": _table,
    ".txt": _table,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
}
"""The function that reads each form, by the suffix of the file."""
