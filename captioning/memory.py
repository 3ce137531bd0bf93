"""How this process gets memory from the operating system."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_LARGEST, _PAD = 2**30, 2**28


def keep_freed_memory() -> bool:
    """Let the C library reuse freed memory of up to 1 GiB at a time, instead of returning it to the system.

    glibc returns buffers above 32 MiB as soon as they are freed. If a step of a search or of training allocates such a
    buffer, the system fills it with zeros, page by page, in each step. With this setting it does so once. The process
    keeps the memory that it needed at its peak.

    Returns:
        Whether the C library is glibc and took the settings. Otherwise nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False  # musl, for example
    # Without room behind a buffer, a small object in its memory makes the next buffer of that size take new memory.
    settings = {_MMAP_THRESHOLD: _LARGEST, _TRIM_THRESHOLD: _LARGEST, _TOP_PAD: _PAD}
    return all(library.mallopt(name, value) for name, value in settings.items())


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause Python's search for unreachable cycles, which takes a fifth of the time of code that makes many tuples.

    Objects outside cycles are freed as always. What was made meanwhile counts as old afterwards, so that the next
    search of new objects does not go through all of it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():  # or objects that the caller has frozen would no longer be
                gc.freeze()
                gc.unfreeze()  # puts all frozen objects among the old ones
            gc.enable()


def peak() -> int | None:
    """Return the largest resident size of this process so far, in bytes; None where the system does not say."""
    return _of_status("VmHWM")


def in_use() -> int | None:
    """Return the resident size of this process without the files that it maps, in bytes; None as for `peak`.

    The system can drop pages of mapped files, such as cached features, and read them again.
    """
    anonymous, shared = _of_status("RssAnon"), _of_status("RssShmem")
    return None if anonymous is None or shared is None else anonymous + shared


def _of_status(name: str) -> int | None:
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    lines = [line for line in status.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(lines[0].split()[1]) * 1024 if lines else None
