"""Read Flickr8k, 8,091 photos with five captions each, in the official layout or that of a common mirror.

Source: Hodosh, Young and Hockenmaier 2013, "Framing image description as a ranking task".

    official                                             mirrors
    Flickr8k.token.txt         name.jpg#0<TAB>caption    captions.txt, captions.csv or results.csv: a table with a
    Flickr_8k.trainImages.txt  name.jpg                  header, see `captioning.data.readers.caption_table`
    Flickr_8k.devImages.txt, Flickr_8k.testImages.txt    Images/
    Flicker8k_Dataset/, Flickr8k_Dataset/ or Images/

The names of text files and folders may be in upper or lower case. The text files may be in `Flickr8k_text/`, and the
image folder may be inside another folder with one of these names. Mirrors have no lists of splits;
official lists in their folder are used.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from captioning.data.example import CaptionedImage
from captioning.data.image_files import files_in, first_three, missing_files, require_files
from captioning.data.images import IMAGE_SUFFIXES
from captioning.data.readers.caption_table import read_caption_table
from captioning.data.readers.karpathy import read_karpathy
from captioning.errors import InputError, shown
from captioning.files.inside import inside
from captioning.files.text_files import read_text

log = logging.getLogger(__name__)

_LISTS = {
    "train": "Flickr_8k.trainImages.txt",
    "val": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
_DOWNLOADS = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
_TEXT_ARCHIVE = f"{_DOWNLOADS}/Flickr8k_text.zip"
_HOW_TO_GET = f"unpack {_TEXT_ARCHIVE} and {_DOWNLOADS}/Flickr8k_Dataset.zip there"
# In lower case. The archive's own name, flicker8k_dataset, is misspelt.
_IMAGE_FOLDERS = (
    "images",
    "flicker8k_dataset",
    "flickr8k_dataset",
    "flickr8k_images",
    "flickr8k",
    "flickr30k_images",
    "flickr30k-images",
    "flickr30k",
)
_TEXT_FOLDERS = ("flickr8k_text", "flickr30k_text", "text", "captions")
_CAPTIONS_FILES = ("Flickr8k.token.txt", "captions.txt", "captions.csv", "results_20130124.token", "results.csv")
_TOKEN_LINE = re.compile(r"([^\t#]+)#([0-9]{1,9})\t(.*)")


@dataclass(frozen=True)
class Flickr8k:
    """A reader of Flickr8k in the official layout or the mirror's, with official splits or those of Karpathy's JSON.

    Attributes:
        root: the data set's folder.
        karpathy: path of dataset_flickr8k.json, if it is to define the splits.
        split_seed: seed of random splits, for a folder without lists of splits; see `read_flickr8k`.
    """

    root: str
    karpathy: str | None = None
    split_seed: int | None = None
    name: ClassVar[str] = "flickr8k"

    def read(self, split: str, *, check_files: bool = True) -> list[CaptionedImage]:
        """See `captioning.data.splits.Reader`."""
        if self.karpathy is not None:
            return read_karpathy(self.karpathy, images_folder(Path(self.root)), split, check_files=check_files)
        return read_flickr8k(self.root, split, split_seed=self.split_seed, check_files=check_files)


def read_flickr8k(
    root: str | Path, split: str, *, split_seed: int | None = None, check_files: bool = True
) -> list[CaptionedImage]:
    """Read one split. The lists of the other splits need not exist.

    Images outside the split's list are ignored. The published data has 91 images in no list, and captions of one image
    that does not exist.

    Args:
        root: the data set's folder.
        split: "train", "val" (or its synonym "dev") or "test".
        split_seed: without any list, this seed determines random splits of 6 : 1 : 1, equal on every machine. With
            lists it is ignored.
        check_files: whether to check that every image file of the split exists.

    Returns:
        The images in the order of the list. `image_id` is the file name, and captions are in the order #0, #1, ...

    Raises:
        InputError: a file is missing or broken. The message gives file and line.
    """
    root, split = Path(root), "val" if split == "dev" else split
    if split not in _LISTS:
        raise InputError(f"split={split!r}: Flickr8k has the splits train, val (or dev) and test")
    captions_file, captions = _read_captions(root)
    names = _split_names(root, split, captions_file, captions, split_seed)
    empty = [name for name in names if not all(caption.strip() for caption in captions[name])]
    if empty:
        raise InputError(
            f"{captions_file}: {len(empty):,} of {len(names):,} images of {split} have an empty caption, "
            f"the first is {shown(empty[0])}; remove or fill in the caption"
        )
    folder = images_folder(root)
    on_disk = _Alike(files_in(folder))
    paths = {name: inside(folder, on_disk.get(name), captions_file) for name in captions}
    if check_files:
        require_files([paths[name] for name in names], captions_file)
        stray = [path.name for path in missing_files(paths.values())]
        if stray:
            log.info(
                "%s: captions of %d images without a file are ignored (%s)",
                captions_file,
                len(stray),
                first_three(stray),
            )
    return [CaptionedImage(name, paths[name], captions[name]) for name in names]


def read_all_captions(root: str | Path) -> dict[str, tuple[str, ...]]:
    """Read the captions of all images, in a split or not, keyed by file name.

    Raises:
        InputError: the captions file is missing or broken.
    """
    return _read_captions(Path(root))[1]


def images_folder(root: Path) -> Path:
    """Find the image folder under any of its names, in upper or lower case, also inside another such folder.

    Without one, return `root` if it contains images, else its `Images/`.
    """
    folder = root
    while found := _subfolders(folder, _IMAGE_FOLDERS):
        folder = found[0]
        if _has_images(folder):
            return folder
    return folder if folder != root or _has_images(root) else root / "Images"


def _subfolders(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the sub-folders with these names, in the order of the names, whatever their case."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.lower() in names and path.is_dir()]
    return sorted(found, key=lambda path: (names.index(path.name.lower()), path.name))


def _has_images(folder: Path) -> bool:
    return any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in files_in(folder))


class _Alike:
    """Finds a name among others, even if its suffix is missing or is in another case."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        counts = Counter(map(_without_suffix, names))
        self._by_stem = {stem: name for name in names if counts[stem := _without_suffix(name)] == 1}

    def get(self, name: str) -> str:
        """Return the one name that equals `name` apart from its suffix; `name` itself if there is none, or several."""
        return name if name in self._names else self._by_stem.get(_without_suffix(name), name)


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot + suffix.lower() in IMAGE_SUFFIXES else name


def _read_captions(root: Path) -> tuple[Path, dict[str, tuple[str, ...]]]:
    """Return the captions file, and every image's captions keyed by file name."""
    for name in _CAPTIONS_FILES:
        if file := text_file(root, name):
            text = read_text(file)
            tokens = ".token" in name or _TOKEN_LINE.fullmatch(text.lstrip().partition("\n")[0].rstrip("\r"))
            return file, _read_token_file(file) if tokens else read_caption_table(file, text)
    raise InputError(
        f"{root}: {'no Flickr8k captions in this folder' if root.is_dir() else 'no such folder'}; expected "
        "Flickr8k.token.txt (the official layout, also inside Flickr8k_text/) or captions.txt (a mirror's); "
        f"{_HOW_TO_GET}"
    )


def _read_token_file(file: Path) -> dict[str, tuple[str, ...]]:
    numbered: dict[str, dict[int, str]] = {}
    for line_number, line in lines_of(file):
        match = _TOKEN_LINE.fullmatch(line)
        if match is None:
            raise InputError(
                f"{file}:{line_number}: expected 'name.jpg#number<TAB>caption', found {shown(line)!r}; correct it"
            )
        name, number, caption = match[1], int(match[2]), match[3]
        of_image = numbered.setdefault(name, {})
        if number in of_image:
            raise InputError(f"{file}:{line_number}: a second caption {shown(name)}#{number}; keep one of the two")
        of_image[number] = caption
    return {name: tuple(of_image[k] for k in sorted(of_image)) for name, of_image in numbered.items()}


def _split_names(
    root: Path, split: str, captions_file: Path, captions: dict[str, tuple[str, ...]], seed: int | None
) -> list[str]:
    lists = {name: file for name, list_name in _LISTS.items() if (file := text_file(root, list_name))}
    if split in lists:
        if seed is not None:
            log.warning("the official list %s is used, and split_seed=%d is ignored", lists[split], seed)
        return _read_list(lists[split], captions_file, captions)
    if lists:  # a random split would overlap with the official ones
        raise InputError(
            f"{root}: no list {_LISTS[split]}, only {', '.join(file.name for file in lists.values())}; "
            "put the official list beside it"
        )
    if seed is None:
        raise InputError(
            f"{root}: no list {_LISTS[split]}, here or in Flickr8k_text/; put the official lists there (from "
            f"{_TEXT_ARCHIVE}), or set data.split_seed=NUMBER for random splits, whose scores are not comparable"
        )
    return _made_split(split, captions_file, captions, seed)


def _read_list(file: Path, captions_file: Path, captions: dict[str, tuple[str, ...]]) -> list[str]:
    line_of: dict[str, int] = {}
    alike = _Alike(captions)
    for line_number, line in lines_of(file):
        name = alike.get(line.strip())
        if name in line_of:
            raise InputError(f"{file}:{line_number}: {shown(name)} is also in line {line_of[name]}; remove one")
        line_of[name] = line_number
    if not line_of:
        raise InputError(f"{file}: empty, expected an image name in each line; get the official list again")
    unknown = [name for name in line_of if name not in captions]
    if unknown:
        raise InputError(
            f"{file}:{line_of[unknown[0]]}: {shown(unknown[0])} has no caption in {captions_file} "
            f"({len(unknown):,} of the {len(line_of):,} listed have none); do the files belong together?"
        )
    return list(line_of)


def _made_split(split: str, captions_file: Path, captions: dict[str, tuple[str, ...]], seed: int) -> list[str]:
    # A split must not depend on which image files exist.
    names = [name for name in captions if "." not in name or _without_suffix(name) != name]
    eighth = len(names) // 8
    if eighth == 0:
        raise InputError(f"{captions_file}: {len(names)} images, expected at least 8 to make splits of 6 : 1 : 1")
    # Sorting by hash gives the same order in every version of every library, unlike a random shuffle.
    names.sort(key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    parts = {"val": names[:eighth], "test": names[eighth : 2 * eighth], "train": names[2 * eighth :]}
    log.info(
        "%s: no official lists; %s from split_seed=%d has %d of %d images; "
        "%d names with another suffix than an image's are left out",
        captions_file,
        split,
        seed,
        len(parts[split]),
        len(names),
        len(captions) - len(names),
    )
    return parts[split]


def text_file(root: Path, name: str) -> Path | None:
    """Find a text file in the folder, in its `Flickr8k_text/` or beside its images, in upper or lower case.

    Returns:
        The file; None if there is none.
    """
    for folder in (root, *_subfolders(root, _TEXT_FOLDERS), *_subfolders(root, _IMAGE_FOLDERS)):
        if (folder / name).is_file():
            return folder / name
        if alike := sorted(other for other in files_in(folder) if other.lower() == name.lower()):
            return folder / alike[0]
    return None


def lines_of(file: Path) -> list[tuple[int, str]]:
    """Read the non-empty lines with their numbers."""
    lines = read_text(file).split("\n")  # splitlines() would also split at rare characters within a caption
    return [(number, line.removesuffix("\r")) for number, line in enumerate(lines, 1) if line.strip()]
