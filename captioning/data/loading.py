"""How a split's images become batches: the settings that all data sets share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from captioning.data.splits import split_name
from captioning.errors import InputError


@dataclass(frozen=True)
class Loading:
    """Settings of the loaders of a `CaptionDataModule`.

    Attributes:
        split: the split of validation and evaluation.
        batch_size: images in a training batch of one process.
        captions_per_image: the captions of each image are split into parts of this many (the last may have fewer). An
            epoch contains the image once for each part, and `batch_size` counts it each time. None keeps all captions
            of an image together, so that it is encoded once per epoch. 1 gives the most varied batches; use it with
            cached features, where repeated images cost little.
        pool: number of batches whose images are sorted together by caption length. A larger pool is faster, and its
            batches are less varied. 1 fills batches at random.
        eval_batch_size: images in a batch of validation and evaluation.
        num_workers: processes that load images. 0 loads in this process, which is fastest for cached features.
        max_length: maximum number of tokens of a training caption, without `<bos>` and `<eos>`. Longer captions are
            truncated, and their number is logged. If they are more than a tenth, training is refused. None truncates
            nothing. References are never truncated.
        augment: arguments of `ImageTransform.augmented` for training images; None for no augmentation.
        keep_images: keep each training image in memory after its first read, transformed for the encoder. Each worker
            process keeps its own copies.
        features: folder of cached features, one sub-folder per split, as `captioning extract` writes it. None reads
            images.
        features_precision: "float32", or "bfloat16" to accept features that the encoder computed in that precision.
        skip_broken: leave out images that cannot be read, and log each; otherwise they are an error. If this is set,
            the images are needed even with `features`, to leave out the same ones as at the extraction.
        seed: seed of the order of training batches and of their augmentation.

    Raises:
        InputError: `augment` and `keep_images` are both set.
    """

    split: str = "val"
    batch_size: int = 16
    captions_per_image: int | None = None
    pool: int = 50
    eval_batch_size: int = 64
    num_workers: int = 0
    max_length: int | None = None
    augment: Mapping[str, Any] | None = None
    keep_images: bool = False
    features: str | Path | None = None
    features_precision: str = "float32"
    skip_broken: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "split", split_name(self.split))
        if self.keep_images and self.augment is not None:
            raise InputError(
                f"data.keep_images=true with data.augment={self.augment}: an augmented image differs each time; set "
                "data.keep_images=false"
            )


def separated(settings: Mapping[str, Any]) -> tuple[dict[str, Any], Loading]:
    """Separate a data set's settings into those of its reader and those of `Loading`."""
    shared = {field.name for field in fields(Loading)}
    reader = {key: value for key, value in settings.items() if key not in shared}
    return reader, Loading(**{key: value for key, value in settings.items() if key in shared})
