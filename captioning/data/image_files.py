"""Find image files, and check that files exist and can be read."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captioning.data.images import IMAGE_SUFFIXES
from captioning.errors import InputError, shown


@dataclass
class FoundImages:
    """The result of a search for image files.

    Attributes:
        paths: the images without duplicates, in the order of the arguments and sorted within each.
        problems: one message for each argument without images.
        skipped: one message for each folder and pattern of which something was left out, with counts.
    """

    paths: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def find_images(arguments: Sequence[str | Path]) -> FoundImages:
    """Expand files, folders and patterns to the paths of images. No file is opened.

    Args:
        arguments: files, folders (for the images directly inside) or patterns with `*`, `?`, `[]`, and `**` for any
            depth. Folders and patterns select regular files by their suffix, and skip hidden files.
    """
    result, paths = FoundImages(), dict[Path, None]()
    for argument in arguments:
        name = shown(argument, 200)
        try:
            found, skipped, problem = _expand(argument, name)
        except OSError as error:
            found, skipped, problem = [], "", f"{name}: cannot be read ({error.strerror})"
        paths.update(dict.fromkeys(found))
        if skipped:
            result.skipped.append(f"{name}: skipped {skipped}")
        if not found:
            result.problems.append(problem)
    result.paths.extend(paths)
    return result


def _expand(argument: str | Path, name: str) -> tuple[list[Path], str, str]:
    """Return the images of one argument, what was skipped, and what is wrong if there are none."""
    path = Path(argument)
    if path.is_dir():
        found, skipped = _only_images(path.iterdir())
        return found, skipped, f"{name}: no image in this folder; for images in subfolders give '{name}/**/*.jpg'"
    if path.exists():
        return [path], "", ""
    if glob.has_magic(str(argument)):
        # pathlib's glob refuses patterns that begin at the root
        entries = map(Path, glob.glob(str(argument), recursive=True))  # noqa: PTH207
        # `**` has searched the folders that it matches
        found, skipped = _only_images(e for e in entries if "**" not in str(argument) or not e.is_dir())
        return found, skipped, f"{name}: no image matches this pattern"
    return [], "", f"{name}: no such file or folder"


def _only_images(paths: Iterable[Path]) -> tuple[list[Path], str]:
    """Select the images, and describe all other entries by their number and kind."""
    images, others = [], Counter[str]()
    for path in paths:
        if path.is_dir():
            others["subfolders"] += 1
        elif not path.is_file():
            others["broken links" if path.is_symlink() else "pipes, sockets or devices"] += 1
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            others["other files"] += 1
        elif path.name.startswith("."):
            others["hidden images"] += 1
        else:
            images.append(path)
    return sorted(images), ", ".join(f"{count:,} {kind}" for kind, count in sorted(others.items()))


def images_below(root: Path) -> list[str]:
    """List the images in a folder and its subfolders, as paths relative to the folder, in alphabetical order.

    Images are found by their suffix. Hidden files and folders are left out. Links are followed, each folder once.
    """
    found, seen = [], set[Path]()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        seen.add(Path(folder).resolve())
        subfolders[:] = [
            name for name in subfolders if not name.startswith(".") and Path(folder, name).resolve() not in seen
        ]
        found += [
            Path(folder, name).relative_to(root).as_posix()
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """List the paths that are no regular files. It reads each folder once, which is faster than a query for each."""
    listings: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = files_in(Path(folder))
        if name not in listings[folder]:
            missing.append(path)
    return missing


def require_files(paths: Sequence[Path], source: Path) -> None:
    """Check that every image file exists.

    Args:
        paths: the images' files.
        source: the file that lists them, for the message.

    Raises:
        InputError: some files do not exist, or are folders, pipes or devices. The message counts them and names the
            first three.
    """
    missing = missing_files(paths)
    if missing:
        raise InputError(
            f"{source} names {len(paths):,} images, of which {len(missing):,} have no file: {first_three(missing)}; "
            "add them, or set data.features=DIR to use cached features, which need no images"
        )


def first_three(paths: Sequence[object]) -> str:
    """List the first three of many paths or names for a message."""
    return f"{', '.join(shown(path, 100) for path in paths[:3])}{', ...' if len(paths) > 3 else ''}"


def files_in(folder: Path) -> set[str]:
    """Return the names of the regular files in a folder, of links to them too; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
