"""Read line-parallel text: two files with a sentence and its translation in the same line.

    train.de, val.de, test_2016_flickr.de     one sentence per line, UTF-8, plain or gzipped (.gz)
    train.en, val.en, test_2016_flickr.en

Multi30k has this layout (Elliott, Frank, Sima'an, Specia 2016, arXiv:1605.00459).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from captioning.data.example import CaptionedImage
from captioning.errors import InputError
from captioning.text.lines import read_lines


@dataclass(frozen=True)
class ParallelText:
    """A reader of sentences and their translations in line-parallel files, or of one language alone.

    Attributes:
        root: the folder of the files.
        target: the suffix of the language that a model writes, such as en.
        source: the suffix of the language that is translated; None for language models.
        corpus: the data set's name without its languages.
    """

    root: str
    target: str
    source: str | None = None
    corpus: str = "text"

    @property
    def name(self) -> str:
        """The data set's name with its languages, such as multi30k-de-en."""
        return "-".join(part for part in (self.corpus, self.source, self.target) if part is not None)

    def read(self, split: str, *, check_files: bool = True) -> list[CaptionedImage]:
        """See `captioning.data.splits.Reader`; the files are always read."""
        return read_parallel(self.root, split, source=self.source, target=self.target)


def read_parallel(root: str | Path, split: str, *, source: str | None, target: str) -> list[CaptionedImage]:
    """Read one split in two languages, or in one.

    Args:
        root: the folder of the files.
        split: file name without the language. If there is no such file, the only file whose name starts with `split`
            and `_` is read, such as test_2016_flickr for "test".
        source: suffix of the source language; None reads only the target, with empty source sentences.
        target: suffix of the target language.

    Returns:
        The sentences in the files' order. `image_id` is the line number, from 1. Lines that are empty in both languages
        are skipped.

    Raises:
        InputError: a file is missing or is not text, or the two files have different numbers of lines.
    """
    targets, path = _lines(Path(root), split, target)
    texts = [""] * len(targets)
    if source is not None:
        sources, path = _lines(Path(root), split, source)
        if len(sources) != len(targets):
            raise InputError(
                f"{path} has {len(sources)} lines, and the .{target} file has {len(targets)}; expected the same number"
            )
        texts = sources
    return [
        CaptionedImage(number, path, (sentence,), text=text)
        for number, (sentence, text) in enumerate(zip(targets, texts, strict=True), start=1)
        if sentence or text
    ]


def _lines(root: Path, split: str, language: str) -> tuple[list[str], Path]:
    path = _file(root, split, language)
    return [line.strip() for _, line in read_lines(path)], path


def _file(root: Path, split: str, language: str) -> Path:
    names = [f"{split}.{language}", f"{split}.{language}.gz"]
    found = [root / name for name in names if (root / name).is_file()]
    if not found:
        found = sorted(path for name in names for path in root.glob(name.replace(".", "_*.", 1)))
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise InputError(
            f"expected one of {' and '.join(names)} in {root.absolute()}, found {there}; set data.root to a folder of "
            "line-parallel files such as Multi30k's, and data.split to the start of their names"
        )
    return found[0]
