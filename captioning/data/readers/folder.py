"""Read a folder of images of one's own, with one file of captions or with a caption file beside each image.

    photos/captions.csv        see `captioning.data.readers.caption_rows` for its forms and for JSON
    photos/cats/1.jpg          images, also in subfolders

    photos/1.jpg, photos/1.txt     without such a file: the captions of each image, one in each line

Splits are, in this order: those of the file's column `split`; those of the lists train.txt, val.txt and test.txt, which
hold an image's name in each line; or made from a seed. Splits that are made keep identical images together.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from captioning.data.example import CaptionedImage
from captioning.data.image_files import files_in, first_three, images_below
from captioning.data.readers.caption_rows import FORMS, CaptionRow, Columns, read_caption_rows
from captioning.data.readers.folder_splits import identical, listed_splits, made_splits, named_splits, read_lists
from captioning.data.readers.image_names import ImageNames, stem
from captioning.errors import InputError, shown
from captioning.files.text_files import read_text

log = logging.getLogger(__name__)

_TABLE = "captions.txt"
"""Other text files are no files of captions of many images."""


@dataclass(frozen=True)
class Contents:
    """What a folder holds.

    Attributes:
        source: the file of captions; the folder itself, if each image has its own.
        how: the columns or files of the captions, and where the splits come from, for people.
        captions: of each image that has any, by its path relative to the folder, in the order of the file.
        splits: the split of each of these images.
        num_images: how many images the folder has.
        missing: images with captions and without a file.
        without_captions: images without captions.
        empty: the places of captions without text, which are left out.
        unlisted: images with captions that are in none of the lists of splits.
        copies: groups of images with captions whose files are identical.
    """

    source: Path
    how: str
    captions: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, str]
    num_images: int
    missing: Sequence[str]
    without_captions: Sequence[str]
    empty: Sequence[str]
    unlisted: Sequence[str]
    copies: Sequence[Sequence[str]]

    def between_splits(self) -> list[Sequence[str]]:
        """Return the groups of identical images that are in more than one split."""
        return [group for group in self.copies if len({self.splits.get(name) for name in group} - {None}) > 1]


@dataclass(frozen=True)
class Folder:
    """A reader of images of one's own.

    Attributes:
        root: the folder.
        captions: the file of captions, as a path or as its name in the folder; None for the only one in the folder.
        image_column, caption_column, split_column: names of its columns or keys; None for any of the usual names.
        split_seed: seed of the splits, if neither a column nor lists name them.
        val_share, test_share: of the images, for these splits; at least one image each, unless `test_share` is 0.
        skip_missing: leave out captions whose image has no file, and log how many. They are an error otherwise.

    Raises:
        InputError: the shares leave no images for training or validation.
    """

    root: str
    captions: str | None = None
    image_column: str | None = None
    caption_column: str | None = None
    split_column: str | None = None
    split_seed: int = 1
    val_share: float = 0.15
    test_share: float = 0.15
    skip_missing: bool = False

    def __post_init__(self) -> None:
        if not (self.val_share > 0 and self.test_share >= 0 and self.val_share + self.test_share < 1):
            raise InputError(
                f"data.val_share={self.val_share} data.test_share={self.test_share}: expected a share above 0 for val, "
                "0 or more for test, and less than 1 for both together"
            )

    @property
    def name(self) -> str:
        """The folder's name."""
        return Path(self.root).resolve().name

    def read(self, split: str, *, check_files: bool = True) -> list[CaptionedImage]:
        """See `captioning.data.splits.Reader`. `image_id` is the image's path relative to the folder."""
        found = self._reported
        missing = set(found.missing) if check_files else set()
        if missing and not self.skip_missing:
            raise InputError(
                f"{found.source} names {len(found.captions):,} images, of which {len(missing):,} have no file in "
                f"{self.root}: {first_three(found.missing)}; add them, or leave them out with data.skip_missing=true"
            )
        if missing:
            log.warning("%d images without a file are left out: %s", len(missing), first_three(found.missing))
        names = [name for name, own in found.splits.items() if own == split and name not in missing]
        if not names:
            sizes = ", ".join(f"{count:,} in {name}" for name, count in Counter(found.splits.values()).items())
            raise InputError(
                f"{found.source}: no images in the split {shown(split)}; it has {sizes or 'none in any'}; add some, "
                "or choose another with data.split"
            )
        return [CaptionedImage(name, Path(self.root, name), found.captions[name]) for name in names]

    @cached_property
    def _reported(self) -> Contents:
        """The contents, of which the log names once whatever is left out."""
        _report(self.contents)
        return self.contents

    @cached_property
    def contents(self) -> Contents:
        """Read the captions, find the images, and bring both together.

        Raises:
            InputError: there is no such folder, it has no captions, or the captions or the splits are broken.
        """
        root = Path(self.root)
        if not root.is_dir():
            raise InputError(
                f"{root} {'is a file' if root.exists() else 'does not exist'}; expected a folder of images"
            )
        names = images_below(root)
        file = _caption_file(root, names, self.captions)
        if file is None:
            rows, how = _rows_beside(root, names), "captions in a text file beside each image"
        else:
            table = read_caption_rows(file, Columns(self.image_column, self.caption_column, self.split_column))
            found_in = f"images in {table.columns.image}, captions in {table.columns.caption}"
            rows, how = table.rows, f"{file.name}: {found_in}"
        images = ImageNames(root, names)
        found = [(images.find(row.image, row.place), row) for row in rows]
        captions = _captions(found)
        copies = identical(root, [name for name in names if name in captions])
        splits, origin = self._splits(found, images, captions, copies)
        return Contents(
            source=file or root,
            how=f"{how}, splits {origin}",
            captions=captions,
            splits=splits,
            num_images=len(names),
            missing=[name for name in captions if name not in images],
            without_captions=[name for name in names if name not in captions],
            empty=[row.place for row in rows for text in row.captions if not text.strip()],
            unlisted=[name for name in captions if name not in splits],
            copies=copies,
        )

    def _splits(
        self,
        rows: Sequence[tuple[str, CaptionRow]],
        images: ImageNames,
        captions: Mapping[str, object],
        copies: Sequence[Sequence[str]],
    ) -> tuple[dict[str, str], str]:
        """Return the split of each image with captions, and where the splits come from."""
        named, lists = named_splits(rows), read_lists(Path(self.root), list(images))
        if named and lists:
            raise InputError(
                f"{self.root} has lists of splits ({', '.join(lists)}), and its captions a column of splits; remove "
                "the lists or the column"
            )
        if lists:
            return listed_splits(lists, images, captions), f"of {', '.join(f'{split}.txt' for split in lists)}"
        if named:
            return {name: named[name] for name in captions}, "of a column"
        shares = {"val_share": self.val_share, "test_share": self.test_share}
        made = made_splits(list(captions), copies, seed=self.split_seed, **shares)
        return made, f"made from data.split_seed={self.split_seed}"


def _caption_file(root: Path, names: Sequence[str], given: str | None) -> Path | None:
    """Return the file of captions; None if each image has its own."""
    if given is not None:
        files = [path for path in (Path(given), root / given) if path.is_file()]
        if not files:
            raise InputError(f"data.captions={given}: no such file, here or in {root}; correct the name")
        return files[0]
    stems = {stem(name) for name in names}
    tables = {_TABLE} - {f"{name}.txt" for name in stems}
    found = sorted(
        name
        for name in files_in(root)
        if not name.startswith(".") and (Path(name).suffix.lower() in {*FORMS} - {".txt"} or name in tables)
    )
    if len(found) > 1:
        raise InputError(
            f"{root} has {len(found)} files that may hold the captions: {first_three(found)}; name one with "
            "data.captions=FILE"
        )
    if found:
        return root / found[0]
    if not any((root / f"{name}.txt").is_file() for name in stems):
        raise InputError(
            f"{root} has {len(names):,} images and no captions; expected one file such as captions.csv, with an image "
            "and a caption in each row, or beside each image x.jpg its captions in x.txt"
        )
    return None


def _rows_beside(root: Path, names: Sequence[str]) -> list[CaptionRow]:
    """Read the captions in the text file beside each image, one in each line."""
    rows = []
    for name in names:
        file = root / f"{stem(name)}.txt"
        if file.is_file():
            lines = [line.strip() for line in read_text(file).split("\n")]
            rows.append(CaptionRow(f"{stem(name)}.txt", name, tuple(line for line in lines if line) or ("",), None))
    return rows


def _captions(rows: Sequence[tuple[str, CaptionRow]]) -> dict[str, tuple[str, ...]]:
    """Gather the captions of each image that has any with a text, in the order of the rows."""
    captions: dict[str, list[str]] = {}
    for name, row in rows:
        if texts := [text for text in row.captions if text.strip()]:
            captions.setdefault(name, []).extend(texts)
    return {name: tuple(texts) for name, texts in captions.items()}


def _report(found: Contents) -> None:
    """Log what was found, and each thing that is left out."""
    log.info("%s", found.how)
    for names, what in (
        (found.without_captions, "images without captions are left out"),
        (found.unlisted, "images are in no list of a split and are left out"),
    ):
        if names:
            log.warning("%d %s: %s", len(names), what, first_three(names))
    if found.empty:
        log.warning("%d captions are empty and are left out: %s", len(found.empty), first_three(found.empty))
    for group in found.between_splits():
        log.warning("identical images are in different splits: %s", first_three(group))
