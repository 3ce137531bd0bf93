"""SHA-256 digests of a folder's files, in a file that `sha256sum --check SHA256SUMS` reads too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from captioning.errors import InputError
from captioning.files.atomic import write_text

DIGESTS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/\\\0]+)")


def sha256(path: str | Path) -> str:
    """Return the SHA-256 digest of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_digests(folder: str | Path, names: Iterable[str] | None = None) -> None:
    """Write the digests of files directly inside a folder to its SHA256SUMS.

    Args:
        folder: the folder.
        names: the files; None for all whose names do not begin with a dot.

    Raises:
        InputError: the file cannot be written.
    """
    if names is None:
        names = (p.name for p in Path(folder).iterdir() if p.is_file() and p.name != DIGESTS and p.name[0] != ".")
    files = [Path(folder) / name for name in sorted(names)]
    write_text(Path(folder) / DIGESTS, "".join(f"{sha256(path)}  {path.name}\n" for path in files))


def read_digests(folder: str | Path) -> dict[str, str]:
    """Read the digests of a folder's files by name; empty if the folder has no SHA256SUMS.

    Raises:
        InputError: SHA256SUMS cannot be read, or a line is no digest with a name of a file in this folder.
    """
    path = Path(folder) / DIGESTS
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}; copy the folder again") from error
    digests = {}
    for number, line in enumerate(lines, 1):
        if not (match := _LINE.fullmatch(line)):
            raise InputError(f"{path}:{number}: expected a SHA-256 digest and a file name; copy the folder again")
        digests[match[2]] = match[1]
    return digests


def check_digests(folder: str | Path, names: Iterable[str] | None = None) -> bool:
    """Compare a folder's files with its digests.

    Args:
        folder: the folder.
        names: the files to compare, each of which must have a digest; None for all that have one.

    Returns:
        True if all files are unchanged, False if the folder has no digests, as older versions wrote it.

    Raises:
        InputError: a file was changed or is missing. The message names the first three.
    """
    digests = read_digests(folder)
    if not (Path(folder) / DIGESTS).exists():
        return False
    compared, changed = list(digests if names is None else names), []
    for name in compared:
        path = Path(folder) / name
        if not path.is_file() or sha256(path) != digests.get(name):
            changed.append(name)
    if changed:
        raise InputError(
            f"{folder}: {len(changed)} of {len(compared)} files are damaged, changed or missing "
            f"({', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}); copy the folder again"
        )
    return bool(compared)
