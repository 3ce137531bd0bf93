"""Read a file of captions as plain values: JSON, JSON lines, a table or lines of text, each plain or gzipped.

    .json, or no suffix      JSON, or an object per line, as `captioning caption --json` prints them
    .jsonl, .ndjson          an object per line
    .csv, .tsv, .tab         a table whose first line names the columns
    any other name           lines of text

A `.gz` after the name changes nothing, because gzipped files are recognised by their first bytes. A file whose name
stands for lines of text is refused if it holds JSON, a table, markup or binary data, because otherwise each of its
lines would be scored as a caption.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path
from typing import Any

from captioning.errors import InputError, shown
from captioning.json_files import parse_json

ID_NAMES = ("image_id", "image", "image_name", "img_id", "file_name", "filename", "cocoid", "id")
"""Names of the column or key of the image's id or file. Beside another of these, `id` is the caption's own number."""

CAPTION_NAMES = ("caption", "captions", "comment", "references", "sentence", "text", "raw")
"""Names of the column or key of the caption, or of the list of captions."""

_LARGEST = 2**30  # bytes of an unzipped file; a few kilobytes can unzip to any size
_JSON, _JSON_LINES, _TABLES = (".json", ""), (".jsonl", ".ndjson"), (".csv", ".tsv", ".tab")
_DELIMITERS = ",\t;|"
_CONTROL = re.compile("[\0-\x08\x0e-\x1f\x7f]")
_JSON_START = re.compile(r"""\s*(\{\s*["}]|\[\s*[\[{"\]])""")
_MARKUP = re.compile(r"\s*<(\?xml|!doctype|html|refset|srcset|tstset|mteval|dataset)\b", re.IGNORECASE)
_FILE_FIRST = re.compile(
    r"""\s*"?[^\t\n,;|]*\.(jpe?g|png|gif|bmp|webp|tiff?|heic|avif)(\.\d+)?(\#\d+)?"?\s*[\t,;|:]""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class Json:
    """The value of a JSON file."""

    value: Any


@dataclass(frozen=True)
class Records:
    """The records of JSON lines, or the rows of a table.

    Attributes:
        rows: for each, its file and line (for messages), the image's id as it is written, and the caption's value.
    """

    rows: list[tuple[str, Any, Any]]


@dataclass(frozen=True)
class Lines:
    """The lines of a text."""

    lines: list[str]


def read_content(path: Path, drop: Sequence[str] = ()) -> Json | Records | Lines:
    """Read a file of captions in the format that its name says.

    Args:
        path: the file.
        drop: keys of JSON to remove at any depth.

    Raises:
        InputError: the file cannot be read, or its content is not of this format. The message says where.
    """
    where, suffix = shown(path, 300), _suffix(path)
    text = _text(path, where)
    if suffix in _TABLES:
        return _table(text, where)
    if suffix in _JSON_LINES or (suffix in _JSON and _has_objects_as_lines(text)):
        return Records(list(_json_lines(text, where, drop)))
    if suffix in _JSON:
        return Json(parse_json(text, where, drop))
    return Lines(_lines(text, where))


def is_text(path: Path) -> bool:
    """Say whether a file's name says that it has lines of text."""
    return _suffix(path) not in (*_JSON, *_JSON_LINES, *_TABLES)


def check_captions(lines: Sequence[str], where: str) -> None:
    """Check that lines may be captions.

    Args:
        lines: the first lines of a file, or all.
        where: the file, for messages.

    Raises:
        InputError: the lines are JSON, a table, or XML.
    """
    if kind := _other_kind(lines):
        raise InputError(f"{where}: expected lines of text, each a caption, because of the file's name; found {kind}")


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix or (".gz" if "." in name else "")


def is_record(value: Any) -> bool:
    """Say whether a value of JSON is an object that holds an image's id and its caption."""
    return isinstance(value, dict) and bool(value.keys() & set(ID_NAMES)) and bool(value.keys() & set(CAPTION_NAMES))


def _text(path: Path, where: str) -> str:
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = GzipFile(fileobj=io.BytesIO(data)).read(_LARGEST + 1)
            if len(data) > _LARGEST:
                raise InputError(f"{where}: larger than {_LARGEST:,} bytes when unzipped; expected a file of captions")
    except (OSError, EOFError, zlib.error) as error:
        reason = shown(getattr(error, "strerror", None) or error)
        raise InputError(f"{where}: cannot be read ({reason}); expected a file of captions") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{where}: this text is UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{where}:{line}: byte {data[error.start]:#04x} is not UTF-8; expected a file of captions, saved as UTF-8"
        ) from error
    if control := _CONTROL.search(text):
        line = text.count("\n", 0, control.start()) + 1
        raise InputError(
            f"{where}:{line}: the character {control[0]!r} does not occur in texts; is it a binary file, or UTF-16?"
        )
    return text


def _json_lines(text: str, where: str, drop: Sequence[str]) -> Iterator[tuple[str, Any, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{where}:{number}"
        record = parse_json(line, place, drop)
        if not isinstance(record, dict):
            raise InputError(f"{place}: expected an object in each line, found a {type(record).__name__}")
        id_name, caption_name = _names(list(record), place, "keys")
        yield place, record[id_name], record[caption_name]


def _has_objects_as_lines(text: str) -> bool:
    """Say whether a text that should be JSON has an object in each of its first two lines that are not empty."""
    lines = [line for line in text[: 2**20].split("\n") if line.strip()][:2]
    return len(lines) == 2 and all(line.startswith("{") and line.rstrip().endswith("}") for line in lines)


def _table(text: str, where: str) -> Records:
    header, delimiter = _header(text)
    id_name, caption_name = _names(header, f"{where}:1", "columns")
    id_column, caption_column = header.index(id_name), header.index(caption_name)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    rows: list[tuple[str, Any, Any]] = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{where}:{reader.line_num}: expected {len(header)} columns ({shown(', '.join(header))}), found "
                    f"{len(row)}; put captions that contain {delimiter!r} in double quotes"
                )
            rows.append((f"{where}:{reader.line_num}", row[id_column].strip(), row[caption_column]))
    except csv.Error as error:
        raise InputError(
            f"{where}:{reader.line_num}: not a table ({shown(error)}); write a double quote in a quoted field twice"
        ) from error
    return Records(rows[1:])


def _header(text: str) -> tuple[list[str], str]:
    """Return the first line's column names in lower case, and the delimiter that gives the most known names."""
    first = text.split("\n", 1)[0].rstrip("\r")
    headers = {delimiter: _cells(first, delimiter) for delimiter in _DELIMITERS}
    delimiter = max(headers, key=lambda d: (len({*ID_NAMES, *CAPTION_NAMES} & set(headers[d])), len(headers[d])))
    return headers[delimiter], delimiter


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a line of more than 100 kB is no header
        return []
    return [cell.strip().lower() for cell in cells]


def _names(found: Sequence[str], place: str, what: str) -> tuple[str, str]:
    """Choose the names of the id and of the caption among those that are there."""
    chosen = []
    for meaning, names in (("an image's id or file", ID_NAMES), ("a caption", CAPTION_NAMES)):
        present = [name for name in found if name in names]
        if len(set(present)) > 1:
            present = [name for name in present if name != "id"]
        if len(present) != 1:
            raise InputError(
                f"{place}: expected one of the {what} {', '.join(names)} for {meaning}, found "
                f"{f'{len(present)} of them: ' if present else ''}{shown(', '.join(present or found)) or 'none'}; "
                f"{'keep one' if present else 'rename one'}"
            )
        chosen += present
    if repeated := [name for name, count in Counter(found).items() if count > 1]:
        raise InputError(f"{place}: the {what} {shown(', '.join(repeated))} are repeated; keep one of each")
    return chosen[0], chosen[1]


def _lines(text: str, where: str) -> list[str]:
    """Split a text into lines. Only line feeds end a line."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if not lines[-1]:
        del lines[-1]
    if not lines:
        raise InputError(f"{where}: expected a caption in each line; the file is empty")
    check_captions(lines, where)
    return lines


def _other_kind(lines: Sequence[str]) -> str:
    """Say what lines are if they are not captions; "" if they may be."""
    start = "\n".join(lines[:3])
    if _JSON_START.match(start):
        return "JSON; name it .json, or .jsonl if each line is an object"
    if _MARKUP.match(start):
        return "XML or HTML; extract the captions"
    header, _ = _header(start)
    if set(header) & set(ID_NAMES) and set(header) & set(CAPTION_NAMES):
        return "a table with a header; name it .csv or .tsv"
    if _FILE_FIRST.match(start):
        return (
            f"the name of an image first ({shown(lines[0], 40)}); write a table with the header image,caption as .csv"
        )
    if len(lines) > 1 and lines[0].count("\t") and len({line.count("\t") for line in lines}) == 1:
        return "tabs in every line; if it is a table, name it .tsv and give it a header such as image_id, caption"
    return ""
