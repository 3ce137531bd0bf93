"""Survey a data set before anything is trained on it: what would stop training, what is left out, what is odd."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captioning.data.broken import find_broken
from captioning.data.encoded import MAX_TRUNCATED
from captioning.data.example import CaptionedImage
from captioning.data.image_files import missing_files
from captioning.data.readers.folder import Folder
from captioning.data.readers.folder_splits import SPLITS, identical
from captioning.data.splits import Reader
from captioning.errors import InputError, shown
from captioning.text.penn_treebank import ptb_normalizer

_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """One kind of fault of a data set.

    Attributes:
        what: what has it, in the plural: "images that cannot be read".
        examples: all that have it, by name.
        stops: whether training would stop because of it.
    """

    what: str
    examples: Sequence[str]
    stops: bool = False

    def __str__(self) -> str:
        first = "; ".join(shown(example, 160) for example in self.examples[:_SHOWN])
        more = "; ..." if len(self.examples) > _SHOWN else ""
        return f"{'stops training' if self.stops else 'note'}: {self.what}: {len(self.examples):,} ({first}{more})"


@dataclass(frozen=True)
class Survey:
    """What a data set holds, and its faults.

    Attributes:
        how: where its captions and splits come from.
        images: the number of images with captions in each split.
        num_captions: of these images.
        longest: words of the longest caption.
        findings: its faults, of which each has an example.
    """

    how: str
    images: dict[str, int]
    num_captions: int
    longest: int
    findings: Sequence[Finding]

    @property
    def trains(self) -> bool:
        """Whether nothing stops training."""
        return not any(finding.stops for finding in self.findings)

    def __str__(self) -> str:
        splits = ", ".join(f"{name} {count:,}" for name, count in self.images.items())
        lines = [
            f"{sum(self.images.values()):,} images ({splits}) with {self.num_captions:,} captions of up to "
            f"{self.longest} words; {self.how}",
            *map(str, self.findings),
            "nothing stops training" if self.trains else "correct what stops training, and check again",
        ]
        return "\n  ".join(lines)

    def content(self) -> dict[str, Any]:
        """Return the survey as plain values."""
        findings = [{"count": len(finding.examples), **asdict(finding)} for finding in self.findings]
        return {**asdict(self), "findings": findings}


def survey_folder(reader: Folder, *, max_length: int) -> Survey:
    """Survey a folder of one's own images.

    Args:
        reader: reads it.
        max_length: the most tokens of a training caption; see `captioning.data.loading.Loading`.

    Raises:
        InputError: the captions or the splits cannot be read.
    """
    found, root = reader.contents, Path(reader.root)
    images: dict[str, list[CaptionedImage]] = {split: [] for split in SPLITS}
    for name, split in found.splits.items():
        images[split].append(CaptionedImage(name, root / name, found.captions[name]))
    left_out = [
        Finding("images without captions, which are left out", found.without_captions),
        Finding("empty captions, which are left out", found.empty),
        Finding("images in no list of a split, which are left out", found.unlisted),
    ]
    return _survey(images, root, how=found.how, left_out=left_out, max_length=max_length)


def survey_reader(reader: Reader, root: Path, *, max_length: int) -> Survey:
    """Survey a data set in a layout of its own. Its test split may be missing.

    Args:
        reader: reads it.
        root: the data set's folder.
        max_length: as for `survey_folder`.

    Raises:
        InputError: the split train or val cannot be read.
    """
    images = {split: reader.read(split, check_files=False) for split in ("train", "val")}
    left_out = []
    try:
        images["test"] = reader.read("test", check_files=False)
    except InputError as error:
        left_out.append(Finding("splits that cannot be read and that training does not need", [f"test: {error}"]))
    return _survey(images, root, how=f"in the layout of {reader.name}", left_out=left_out, max_length=max_length)


def _survey(
    images: Mapping[str, Sequence[CaptionedImage]],
    root: Path,
    *,
    how: str,
    left_out: Sequence[Finding],
    max_length: int,
) -> Survey:
    lengths = {split: [*_lengths(own)] for split, own in images.items()}
    needed = [split for split in ("train", "val") if not images[split]]
    long = [example for length, example in lengths["train"] if length > max_length]
    findings = [
        Finding("splits without images that training needs", needed, stops=True),
        *_of_files(images, root),
        Finding(
            f"training captions of more than {max_length} words, which are truncated (data.max_length)",
            long,
            stops=len(long) > MAX_TRUNCATED * len(lengths["train"]),
        ),
        *left_out,
    ]
    every = [length for own in lengths.values() for length, _ in own]
    return Survey(
        how=how,
        images={split: len(own) for split, own in images.items()},
        num_captions=len(every),
        longest=max(every, default=0),
        findings=[finding for finding in findings if finding.examples],
    )


def _lengths(images: Sequence[CaptionedImage]) -> Iterator[tuple[int, str]]:
    """Yield the number of words of each caption, and how a message names it."""
    normalize = ptb_normalizer().normalize_str
    for image in images:
        for text in image.captions:
            yield len(normalize(text).split()), f"{image.image_id}: {shown(text, 50)}"


def _of_files(images: Mapping[str, Sequence[CaptionedImage]], root: Path) -> list[Finding]:
    """Find missing, unreadable and identical image files."""
    split_of = {image.path: split for split, own in images.items() for image in own}
    name_of = {path: os.path.relpath(path, root) for path in split_of}
    missing = missing_files(split_of)
    existing = [path for path in split_of if path not in set(missing)]
    copies = identical(root, [name_of[path] for path in existing])
    apart = [group for group in copies if len({split_of[root / name] for name in group}) > 1]
    return [
        Finding("images with captions and without a file", [name_of[path] for path in missing], stops=True),
        Finding("images that cannot be read", list(find_broken(existing).values()), stops=True),
        Finding("identical images within one split", [" = ".join(g) for g in copies if g not in apart]),
        Finding(
            "identical images in several splits, so that scores will be too high",
            [" = ".join(f"{name} ({split_of[root / name]})" for name in group) for group in apart],
        ),
    ]
