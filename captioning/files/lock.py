"""Let one process at a time write a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from captioning.errors import InputError

LOCK = ".lock"


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold a folder's lock. The system releases it when this process ends, in whatever way.

    Args:
        folder: the folder, created if it does not exist. The lock is its file `.lock`, which stays.

    Raises:
        InputError: another process holds the lock, or the folder cannot be written.
    """
    folder = Path(folder)
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another process is writing {folder}; wait until it has finished, or choose another folder"
        ) from error
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}; choose another folder") from error
    try:
        yield
    finally:
        lock.release()
