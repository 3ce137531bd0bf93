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
class Mention:
    """A word of a caption, or several, that names or describes annotated objects.

    Attributes:
        caption: the caption's row among the image's captions.
        begin: the first character of the word in the caption, counted from 0.
        end: the character after the last.
        kind: what the word says of the objects, such as "colour".
        objects: rows of the image's `objects`. If there are several, the word fits each of them equally well.
    """

    caption: int
    begin: int
    end: int
    kind: str
    objects: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image with its captions, as every reader returns it.

    Attributes:
        image_id: unique within its data set: COCO's integer, Flickr's file name, or a sentence's line number.
        path: the image's file, which readers do not open; for a sentence, the file that contains it.
        captions: the captions as published; empty if the split has none.
        objects: annotated objects in annotation order; empty unless requested.
        text: the sentence to translate, which replaces the image; None for images.
        mentions: the words of the captions whose objects are annotated; empty unless objects are requested.
    """

    image_id: int | str
    path: Path
    captions: tuple[str, ...]
    objects: tuple[SceneObject, ...] = ()
    text: str | None = None
    mentions: tuple[Mention, ...] = ()
