"""Keep what is derived from large files in the user's cache folder, so that it is computed once."""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from captioning.errors import InputError
from captioning.files.atomic import replacing

log = logging.getLogger(__name__)

T = TypeVar("T")

_DIGEST_BYTES = hashlib.sha256().digest_size


def folder() -> Path:
    """Return the folder: `captioning` in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "captioning"


def get(name: str, kind: type[T], make: Callable[[], T]) -> T:
    """Read a value from the cache. If it is not there or is damaged, make it and write it.

    A file holds the SHA-256 of its content, and plain values as MessagePack: reading runs no code.

    Args:
        name: the file. Values that are made of other files need another name.
        kind: the value's type, which msgspec checks.
        make: makes the value.
    """
    path = folder() / name
    try:
        return _read(path, kind)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.warning("%s cannot be used (%s) and is made again", path, error)
    value = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = msgspec.msgpack.encode(value)
        with replacing(path) as new, new.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
    except (OSError, InputError) as error:
        log.info("%s is not kept for the next time: %s", name, error)
    return value


def _read(path: Path, kind: type[T]) -> T:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[_DIGEST_BYTES:] as content,
    ):
        if hashlib.sha256(content).digest() != whole[:_DIGEST_BYTES].tobytes():
            raise ValueError("its content has another SHA-256")
        return msgspec.msgpack.decode(content, type=kind)
