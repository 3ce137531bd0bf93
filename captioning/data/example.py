"""The one form in which every data set reaches the rest of the code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One annotated thing in an image.

    Attributes:
        category: its name, such as "dog".
        box: left, top, width, height as fractions of the image's width and height, in [0, 1].
    """

    category: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image with its captions, as every reader returns it.

    Attributes:
        image_id: unique in its data set: COCO's integer, or the file name for Flickr.
        path: the image's file, which a reader does not open; of a sentence, the file of its language.
        captions: as published, untouched; empty where the split has none.
        objects: annotated things in the annotation's order; empty unless asked for.
        text: the sentence that stands in place of an image, to be translated; None for images.
    """

    image_id: int | str
    path: Path
    captions: tuple[str, ...]
    objects: tuple[SceneObject, ...] = ()
    text: str | None = None
