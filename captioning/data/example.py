"""The common form of all data sets: images with their captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SceneObject:
    """An annotated object of an image.

    Attributes:
        category: name of its category, such as "dog".
        box: left, top, width, height as fractions of the image's width and height, in [0, 1].
    """

    category: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image with its captions, as every reader returns it.

    Attributes:
        image_id: unique within its data set: COCO's integer, Flickr's file name, or a sentence's line number.
        path: the image's file, which readers do not open; for a sentence, the file that contains it.
        captions: the captions as published; empty if the split has none.
        objects: annotated objects in annotation order; empty unless requested.
        text: the sentence to translate, which replaces the image; None for images.
    """

    image_id: int | str
    path: Path
    captions: tuple[str, ...]
    objects: tuple[SceneObject, ...] = ()
    text: str | None = None
