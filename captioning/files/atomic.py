"""Write files and folders that appear whole or not at all, at whatever moment the process or the machine stops.

A file is written beside its target, forced to disk and renamed. A rename within a folder is atomic, so a reader finds
the earlier file or the new one, and nothing between.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from captioning.errors import InputError

UNFINISHED = ".unfinished"
"""The suffix of files and folders that are being written."""

_MANY = 100  # files; to force thousands to disk one by one takes minutes
_OPENED = (Path("/dev"), Path("/dev/fd"))  # open files of this process: replacing such a path would not write to them


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield the path of a new empty file, which replaces the file at `path` when the block ends without an error.

    After an error the earlier file is as it was, and the new one is removed. A link is followed. A target that is no
    regular file, such as a pipe, is written directly, and so is /dev/stdout, whatever it leads to.

    Raises:
        InputError: the file cannot be written. The message names it.
    """
    target = Path(path)
    try:
        if target.is_relative_to("/proc") or target.parent in _OPENED or (target.exists() and not target.is_file()):
            yield target
            return
        target = target.resolve()
        new = _beside(target)
        try:
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # with the user's permissions
            if target.exists():
                shutil.copymode(target, new)
            yield new
            _to_disk(new)
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)
        _to_disk(target.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def write_text(path: str | Path, text: str) -> None:
    """Replace a file by one with this text, in UTF-8 and with the text's own line ends.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | Path, content: Any, *, indent: int | None = 2) -> None:
    """Replace a file by one with this content as JSON.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Yield an empty folder, which becomes `folder` when the block ends without an error.

    After an error nothing is left of it.

    Args:
        folder: the folder to make. It does not exist or is empty. Missing parents are created.

    Raises:
        InputError: `folder` is not empty, or cannot be written.
    """
    target = Path(folder)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = _beside(target)
        try:
            new.mkdir()
            yield new
            paths = [*new.rglob("*"), new]
            if len(paths) > _MANY:
                os.sync()
            else:
                for path in paths:
                    _to_disk(path)
            if target.exists():
                target.rmdir()
            new.replace(target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        _to_disk(target.parent)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from error


def remove_unfinished(folder: str | Path) -> None:
    """Remove what killed processes left unfinished directly inside a folder. No other process may write there."""
    for path in Path(folder).glob(f".*{UNFINISHED}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}{UNFINISHED}")


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
