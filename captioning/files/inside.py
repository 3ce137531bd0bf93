"""Join the path of a folder with a name that a file gives, and stay inside the folder."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

from captioning.errors import InputError, shown


def inside(root: Path, name: str, source: object) -> Path:
    """Return `root / name`, where an annotation file gives `name`.

    Links are followed, also to other disks: they are the user's own, and no annotation file can make one.

    Args:
        root: the folder that the name must not leave.
        name: a relative path; it may contain folders.
        source: the file that gives the name, for the message.

    Raises:
        InputError: the name is an absolute path, or leads out of the folder by `..`.
    """
    normal = os.path.normpath(name) if name else ""  # without `..`, which could leave the folder behind a link
    # Every absolute path of Windows has one of these characters; the check without them is ten times as fast.
    windows = any(mark in normal for mark in ":\\") and PureWindowsPath(normal).is_absolute()
    absolute = windows or os.path.isabs(normal)  # noqa: PTH117
    if absolute or normal.split(os.sep, 1)[0] == os.pardir or "\0" in name:
        raise InputError(
            f"{shown(source, 200)} names {shown(name)!r}, which is not inside {shown(root, 200)}; expected the path of "
            "an image relative to this folder"
        )
    return root / normal
