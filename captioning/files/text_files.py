"""Read whole text files that a user gives."""

from __future__ import annotations

from pathlib import Path

from captioning.errors import InputError


def read_text(file: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark. Line ends are those of the file.

    Only the line ends of classic Mac OS, a lone carriage return, become line feeds.

    Raises:
        InputError: the file cannot be read or is not UTF-8. The message names the file and line.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); expected a text file") from error
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line_number = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{file}:{line_number}: byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        ) from error
