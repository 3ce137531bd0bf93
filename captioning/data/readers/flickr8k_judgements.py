"""Read human judgements of Flickr8k's captions: does this caption describe this image?

Source: Hodosh, Young and Hockenmaier 2013, "Framing image description as a ranking task", section 5. The files are in
`Flickr8k_text/`. Each line is one pair, with fields separated by tabs:

    ExpertAnnotations.txt         name.jpg  other.jpg#2  1  1  2      three experts: 1 (unrelated) to 4 (describes it)
    CrowdFlowerAnnotations.txt    name.jpg  other.jpg#2  0.33  1  2   fraction of yes, number of yes, number of no
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioning.data.readers.flickr8k import lines_of, text_file
from captioning.errors import InputError, shown

EXPERTS, CROWD = "ExpertAnnotations.txt", "CrowdFlowerAnnotations.txt"


@dataclass(frozen=True, slots=True)
class Judged:
    """A caption that people judged as a description of an image.

    Attributes:
        image: the image's file name.
        caption: the text, written for this or another image.
        ratings: one number per judge, or a single number for all judges; higher is better.
    """

    image: str
    caption: str
    ratings: tuple[float, ...]


def read_experts(root: str | Path, captions: Mapping[str, Sequence[str]]) -> list[Judged]:
    """Read the experts' judgements, three ratings per pair.

    Args:
        root: Flickr8k's folder.
        captions: captions of every image, keyed by file name.

    Raises:
        InputError: the file is missing, a line is broken, or a line names an unknown image or caption.
    """
    return _read(Path(root), EXPERTS, captions, lambda numbers: numbers, most=4.0)


def read_crowd(root: str | Path, captions: Mapping[str, Sequence[str]]) -> list[Judged]:
    """Read the crowd's judgements, one rating per pair: the fraction of people who said yes.

    Arguments and errors are those of `read_experts`.
    """
    return _read(Path(root), CROWD, captions, lambda numbers: numbers[:1])


def _read(
    root: Path,
    name: str,
    captions: Mapping[str, Sequence[str]],
    ratings: Callable[[tuple[float, ...]], tuple[float, ...]],
    *,
    most: float = math.inf,
) -> list[Judged]:
    file = text_file(root, name)
    if file is None:
        raise InputError(f"{root}: no {name}, here or in Flickr8k_text/; it is part of Flickr8k_text.zip")
    judged = []
    for number, line in lines_of(file):
        try:
            image, caption_id, *fields = line.split("\t")
            of_image, _, index = caption_id.partition("#")
            first, second, third = map(float, fields)
            numbers = (first, second, third)
            if not (index.isdecimal() and all(0 <= number <= most for number in numbers) and max(numbers) < math.inf):
                raise ValueError
            judged.append(Judged(image, captions[of_image][int(index)], ratings(numbers)))
        except (ValueError, KeyError, IndexError) as error:
            raise InputError(
                f"{file}:{number}: expected an image, the id of a caption of Flickr8k.token.txt and three numbers, "
                f"separated by tabs, found {shown(line)!r}"
            ) from error
        if image not in captions:
            raise InputError(f"{file}:{number}: {shown(image)} has no captions in Flickr8k.token.txt")
    return judged
