"""Read and check user-provided JSON files. Errors name the file and the position in it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from captioning.errors import InputError, shown

Record = dict[str, Any]
T = TypeVar("T")

_LARGEST = 1.7976931348623157e308
Finite = Annotated[float, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
"""A number that is neither infinite nor NaN. JSON files that Python wrote may hold both."""

Count = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""A whole number from 1 that fits an array's integers."""

MAX_DEPTH = 64
"""How deep the lists and objects of a typed file may be nested."""

_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # found or not in a tenth of the time of the next pattern
_HALF_A_CHARACTER = re.compile(  # half a surrogate pair, which no text file can hold
    r"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]..)"
)


def read_json(path: Path, drop: Sequence[str] = ()) -> Record:
    """Read a JSON file that contains one object.

    Args:
        path: the file.
        drop: keys to remove at any depth; their values are freed while the file is read.

    Raises:
        InputError: the file cannot be read, is not JSON (the message gives line and column), contains no object, or
            repeats a key in one object, or a text in it is no Unicode.
    """
    data = read_any_json(path, drop)
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, found a {type(data).__name__}")
    return data


def read_any_json(path: Path, drop: Sequence[str] = ()) -> Any:
    """Read a JSON file of any content, such as a list. Arguments and errors are those of `read_json`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{shown(path, 300)}: cannot be read ({error.strerror}); expected a JSON file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(path, 300)}: not a JSON text ({shown(error)}); get the file again") from error
    return parse_json(text, shown(path, 300), drop)


def parse_json(text: str, where: str, drop: Sequence[str] = ()) -> Any:
    """Parse JSON that is part of a file.

    Args:
        text: the JSON.
        where: the file, and the position in it, for messages.
        drop: as for `read_json`.

    Raises:
        InputError: the text is not JSON, repeats a key in one object, or is no Unicode.
    """

    def keep(pairs: list[tuple[str, Any]]) -> Record:
        record = dict(pairs)
        if len(record) != len(pairs):
            repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
            raise InputError(
                f"{where}: {len(repeated):,} keys are repeated in one object, the first is '{shown(repeated[0])}'"
            )
        for key in drop:
            record.pop(key, None)
        return record

    if _ESCAPED_HALF.search(text) and (half := _HALF_A_CHARACTER.search(text)):
        raise InputError(f"{where}: {half[0][-6:]} is half a character; expected Unicode; get the file again")
    try:
        return json.loads(text, object_pairs_hook=keep)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}:{error.lineno}: broken JSON at column {error.colno} ({error.msg}); get the file again"
        ) from error
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # nested too deeply, or a number with thousands of digits
        raise InputError(f"{where}: not a JSON text ({shown(error)}); get the file again") from error


def read_typed(path: Path, kind: type[T]) -> T:
    """Read a JSON file whose content has a known type.

    Args:
        path: the file.
        kind: the type, such as a msgspec.Struct. `Annotated[int, msgspec.Meta(ge=1)]` limits a number's range;
            `Finite` is a number that is neither infinite nor NaN.

    Raises:
        InputError: the file cannot be read, is not JSON, or its content is not of this type. The message says where.
    """
    return typed(read_any_json(path), kind, str(path))


def typed(content: Any, kind: type[T], where: str) -> T:
    """Convert the content of a JSON or YAML file to a type, without any change of values.

    Args:
        content: plain values.
        kind: as for `read_typed`.
        where: the file, for messages.

    Raises:
        InputError: the content is not of this type, or is nested more than 64 deep.
    """
    if _deeper_than(MAX_DEPTH, content):
        raise InputError(f"{where} is damaged, or of another kind: it is nested more than {MAX_DEPTH} deep")
    try:
        return msgspec.convert(content, kind, strict=True)
    except msgspec.ValidationError as error:
        raise InputError(f"{where} is damaged, or of another kind: {shown(error, 200)}; get the file again") from error


def _deeper_than(depth: int, content: Any) -> bool:
    level = [content]
    for _ in range(depth):
        level = [part for part in level if isinstance(part, dict | list)]
        if not level:
            return False
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return True


def records(data: Record, key: str, fields: Mapping[str, type], where: str) -> list[Record]:
    """Return the list of objects under a key, after checking the types of their fields.

    Args:
        data: a JSON object.
        key: the list's name in it.
        fields: the name and exact type of each required field.
        where: the file, and the position in it, for messages.

    Raises:
        InputError: there is no such list, or an element has no such field or one of another type.
    """
    found = data.get(key)
    if type(found) is not list:
        raise InputError(
            f"{where}: expected a list '{key}', found {_kind(data, key)} (keys: {shown(', '.join(data) or 'none')})"
        )
    for i, record in enumerate(found):
        if type(record) is not dict:
            raise InputError(f"{where}: {key}[{i}]: expected an object, found a {type(record).__name__}")
        for field, kind in fields.items():
            if type(record.get(field)) is not kind:
                raise InputError(
                    f"{where}: {key}[{i}]: expected '{field}' of type {kind.__name__}, found "
                    f"{_kind(record, field)} (keys: {shown(', '.join(record) or 'none')})"
                )
    return found


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one whose keys are joined by dots."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _kind(record: Record, key: str) -> str:
    return f"type {type(record[key]).__name__}" if key in record else "none"
