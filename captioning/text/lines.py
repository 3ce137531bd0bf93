"""Read lines of user-provided text files, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from captioning.errors import InputError


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, counted from 1. A file whose name ends in `.gz` is unzipped.

    Only line feeds end a line. Unicode's rare line separators may occur inside one.

    Raises:
        InputError: the file cannot be read or is not UTF-8. The message names the file and line.
    """
    path, number = Path(path), 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}:{number}: byte {error.object[error.start]:#04x} is not UTF-8; expected a text file, saved as UTF-8"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        where = f"{path}:{number}" if number else str(path)
        raise InputError(f"{where}: cannot be read ({reason}); expected a text file, plain or gzipped") from error
