"""The splits of a data set, each read once."""

from __future__ import annotations

import logging
from typing import Protocol

from captioning.data.broken import without_broken
from captioning.data.example import CaptionedImage
from captioning.data.layouts import categories

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Reads a data set's files; one class per file format, in `captioning.data.readers`."""

    @property
    def name(self) -> str:
        """The data set's name in logs and signatures."""
        ...

    def read(self, split: str, *, check_files: bool = True) -> list[CaptionedImage]:
        """Read one split.

        Args:
            split: "train", "val" or "test"; the files of other splits need not exist.
            check_files: check that each image has its file.

        Raises:
            InputError: a file is missing or broken, or the data set has no such split.
        """
        ...


class Splits:
    """The splits of a data set, each read when it is first needed.

    Args:
        reader: reads the data set's files.
        check_files: check that each image has its file and can be read; False if images will not be opened.
        skip_broken: leave out images that cannot be read, and log each. They are an error otherwise.
    """

    def __init__(self, reader: Reader, *, check_files: bool = True, skip_broken: bool = False) -> None:
        self.reader, self.check_files, self.skip_broken = reader, check_files, skip_broken
        self._images: dict[str, list[CaptionedImage]] = {}

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.reader.name

    def images(self, split: str) -> list[CaptionedImage]:
        """Return a split's images with their captions, in the reader's order.

        Raises:
            InputError: the split cannot be read, or some of its images cannot be read and are not skipped.
        """
        split = split_name(split)
        if split not in self._images:
            images = self.reader.read(split, check_files=self.check_files)
            if self.check_files:
                images = without_broken(images, skip=self.skip_broken)
            num_captions = sum(len(image.captions) for image in images)
            log.info("%s %s: %d images, %d captions", self.name, split, len(images), num_captions)
            self._images[split] = images
        return self._images[split]

    def captions(self, split: str) -> list[str]:
        """Return every caption of a split, as published."""
        return [caption for image in self.images(split) for caption in image.captions]

    def texts(self, split: str) -> list[str]:
        """Return the source sentences of a split; empty for a data set of images."""
        return [image.text for image in self.images(split) if image.text is not None]

    def references(self, split: str) -> dict[int | str, tuple[str, ...]]:
        """Return each image's captions by its id, in the reader's order."""
        return {image.image_id: image.captions for image in self.images(split)}

    def categories(self, split: str) -> list[str]:
        """Return the names of the annotated objects' categories; see `captioning.data.layouts.categories`."""
        return categories(self.images(split))


def split_name(name: str) -> str:
    """Return a split's standard name: "val" for "dev", Flickr8k's other name for it."""
    return "val" if name == "dev" else name
