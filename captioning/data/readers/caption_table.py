"""Read a table of captions, one in each line, as the mirrors of Flickr8k and Flickr30k write it.

image,caption                                image_id,Caption            image, caption
1.jpg,"A dog , running ."                    1.jpg,A dog runs            1.jpg, A dog runs

image_name| comment_number| comment          the fields are separated by bars or tabs, and nothing is quoted
1.jpg| 0| A dog runs .
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from captioning.errors import InputError, shown

log = logging.getLogger(__name__)

_NAMES = ("image", "image_id", "image_name", "image_file", "filename", "file_name", "file", "img")
_CAPTIONS = ("caption", "captions", "comment", "comments", "sentence", "text")
# One line of Flickr30k's results.csv, as published: `2199200615.jpg| 4   A dog runs across the grass .`
_WITHOUT_BAR = re.compile(r"([0-9]+)\s+(\S.*)")


def read_caption_table(file: Path, text: str) -> dict[str, tuple[str, ...]]:
    """Read the captions of every image, keyed by its name in the table.

    Args:
        file: names the table in messages.
        text: its content. The first line names the columns, in upper or lower case.

    Raises:
        InputError: the header names no image or no caption, or a line has another number of fields. The message gives
            the line.
    """
    header = text.partition("\n")[0].rstrip("\r")
    separator = next((mark for mark in "|\t;" if mark in header), ",")
    columns = [column.strip().strip('"').lower() for column in header.split(separator)]
    places = [[i for i, column in enumerate(columns) if column in known] for known in (_NAMES, _CAPTIONS)]
    if any(len(place) != 1 for place in places):
        raise InputError(f"{file}:1: expected the header 'image,caption', found {shown(header)!r}")
    (name,), (caption,) = places
    captions: dict[str, list[str]] = {}
    for number, row in (
        quoted_rows(file, text, separator, header) if separator in ",;" else _plain(text, separator, columns)
    ):
        if len(row) != len(columns):
            raise InputError(
                f"{file}:{number}: expected the {len(columns)} fields {shown(header)}, found {len(row)}: "
                f"{shown(separator.join(row))!r}; put a caption with commas in double quotes"
            )
        captions.setdefault(row[name], []).append(row[caption])
    return {image: tuple(own) for image, own in captions.items()}


def quoted_rows(file: Path, text: str, separator: str, header: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of CSV after the header, with the numbers of their last lines.

    Spaces after a separator are dropped if the header has them too.

    Args:
        file: names the table in messages.
        text: its content.
        separator: of the fields.
        header: the first line.

    Raises:
        InputError: a quote is not closed, or a field is too long.
    """
    spaces = f"{separator} " in header
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=spaces, strict=True)
    try:
        next(rows, None)  # the header
        yield from ((rows.line_num, row) for row in rows if row)  # an empty line gives no fields
    except csv.Error as error:
        raise InputError(f"{file}:{rows.line_num}: broken CSV ({error}); correct this line's quotes") from error


def _plain(text: str, separator: str, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each line, without the spaces around them. The last field may contain separators."""
    for number, line in enumerate(text.split("\n")[1:], 2):
        row = [field.strip() for field in line.split(separator, len(columns) - 1)]
        if len(row) == len(columns) - 1 and (parts := _WITHOUT_BAR.fullmatch(row[-1])):
            log.info("line %d has a number and a caption without a separator: %s", number, shown(line))
            row = [*row[:-1], *parts.groups()]
        if line.strip():
            yield number, row
