"""A reader of tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from captioning.data.example import CaptionedImage
from captioning.errors import InputError


@dataclass(frozen=True)
class Table:
    """Reads SPLIT.tsv, a line per caption: the image's file in `root`, a tab, and the caption.

    Attributes:
        root: the folder of the tables and images.
        name: the data set's name in logs and results.
    """

    root: str
    name: str = "table"

    def read(self, split: str, *, check_files: bool = True) -> list[CaptionedImage]:
        """Read one split; see `captioning.data.splits.Reader`."""
        path = Path(self.root, f"{split}.tsv")
        if not path.is_file():
            raise InputError(f"{path} does not exist; expected lines of IMAGE<tab>CAPTION")
        captions: dict[str, list[str]] = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            file, tab, caption = line.partition("\t")
            if not tab or (check_files and not Path(self.root, file).is_file()):
                raise InputError(f"{path}:{number}: expected IMAGE<tab>CAPTION, with an image of this folder")
            captions.setdefault(file, []).append(caption)
        return [CaptionedImage(file, Path(self.root, file), tuple(found)) for file, found in captions.items()]
