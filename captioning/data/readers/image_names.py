"""Find the images of a folder by the names that a user's file gives them."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from captioning.data.image_files import first_three
from captioning.data.images import IMAGE_SUFFIXES
from captioning.errors import InputError, shown
from captioning.files.inside import inside


class ImageNames:
    """Finds the image that a file names, however the name is written.

    A name may start with the folder's own name, lack the subfolders or the suffix, have the suffix in another case,
    separate folders by backslashes, or be in another of Unicode's normal forms.

    Args:
        root: the folder.
        names: its images, as paths relative to the folder.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root, self._parts, self._names = root, root.resolve().parts, dict.fromkeys(names)
        self._alike = defaultdict[str, list[str]](list)
        for name in names:
            for form in dict.fromkeys((*_forms(name), *_forms(name.rpartition("/")[2]))):
                self._alike[form].append(name)

    def __iter__(self) -> Iterator[str]:
        """Yield the images."""
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        """Return whether the folder has an image of this path."""
        return name in self._names

    def find(self, given: str, place: str) -> str:
        """Return the image that is named, or the name as a normalised path if there is no such image.

        Args:
            given: the name.
            place: where it is written, for messages.

        Raises:
            InputError: the name leads out of the folder, or several images may be meant.
        """
        names = self._readings(given, place)
        for name in names:
            if name in self._names:
                return name
            for form in _forms(name):
                found = self._alike.get(form, [])
                if len(found) > 1:
                    raise InputError(
                        f"{place}: {shown(given)} may be any of {first_three(found)}; give its path in the folder"
                    )
                if found:
                    return found[0]
        return names[0]

    def _readings(self, given: str, place: str) -> list[str]:
        """Return the paths that a name may mean: as it is written, and without the end of the folder's own path."""
        written = given if given in self._names else given.replace("\\", "/")
        path = inside(self._root, written, place).relative_to(self._root)
        tails = [path.parts[n:] for n in range(1, len(path.parts)) if path.parts[:n] == self._parts[-n:]]
        return [path.as_posix(), *map("/".join, tails)]


def stem(name: str) -> str:
    """Return a path without the suffix of an image or a text file."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in (*IMAGE_SUFFIXES, ".txt") else name


def _forms(name: str) -> tuple[str, str]:
    """Return a name with its suffix in lower case, and without its suffix; both in Unicode's composed form."""
    name = unicodedata.normalize("NFC", name)
    bare = stem(name)
    return bare + name[len(bare) :].lower(), bare
