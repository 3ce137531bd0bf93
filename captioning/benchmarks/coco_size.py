"""Generate a data set of COCO's size: captions in Karpathy's form, and cached features of a frozen ResNet-50.

Nothing is downloaded. The words are made up, with frequencies as in a language, and the features are random numbers. So
the data show what reading, memory and time cost, and say nothing about scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import torchvision
from numpy.random import Generator
from safetensors.torch import save

from captioning.data.features.store import FeatureWriter
from captioning.encoders import TorchvisionEncoder
from captioning.encoders.features import ImageFeatures
from captioning.files.atomic import new_folder, replacing

FEATURE_SIZE, NUM_CELLS = 2048, 49
CAPTIONS_PER_IMAGE = 5
_NUM_WORDS = 25_000  # about as many as COCO's training captions have
_MEAN_WORDS, _DEVIATION, _FEWEST, _MOST = 10.5, 2.4, 6, 40
_ROWS = 512


@dataclass(frozen=True)
class Size:
    """How many images the data have.

    Attributes:
        train: training images with pooled features. Karpathy's split of COCO has 113,287.
        evaluated: images of the validation split, and as many of the test split.
        grid: which part of the training images has a grid of features too, one of so many.
    """

    train: int = 113_287
    evaluated: int = 5_000
    grid: int = 10


@dataclass(frozen=True)
class Generated:
    """The files of one experiment.

    Attributes:
        karpathy: the JSON file.
        features: the folder of the feature stores.
        weights: the encoder's.
    """

    karpathy: Path
    features: Path
    weights: Path


def generate(folder: Path, size: Size | None = None) -> dict[str, Generated]:
    """Write the data, or use those that an earlier call has written.

    Args:
        folder: the folder for the data: 4 GB in COCO's size, most of it the grids.
        size: COCO's if None.

    Returns:
        The files by "pooled", which has all images, and "grid", which has a part of the training images and all others.

    Raises:
        InputError: the folder cannot be written, or holds other files.
    """
    size = size or Size()
    found = {
        name: Generated(
            folder / name / "dataset_coco.json", folder / name / "features", folder / "resnet50.safetensors"
        )
        for name in ("pooled", "grid")
    }
    if folder.is_dir() and all(part.karpathy.is_file() for part in found.values()):
        return found
    with new_folder(folder) as new:
        torch.manual_seed(0)
        new_weights = new / "resnet50.safetensors"
        new_weights.write_bytes(save(torchvision.models.resnet50(weights=None).state_dict()))
        for name in found:
            _write(new / name, new_weights, size, with_grid=name == "grid")
    return found


def _write(folder: Path, weights: Path, size: Size, *, with_grid: bool) -> None:
    (folder / "features").mkdir(parents=True)
    random = np.random.default_rng(0)
    counts = {
        "train": size.train // size.grid if with_grid else size.train,
        "val": size.evaluated,
        "test": size.evaluated,
    }
    splits = [split for split, count in counts.items() for _ in range(count)]
    with replacing(folder / "dataset_coco.json") as new:
        new.write_bytes(msgspec.json.encode({"images": list(_entries(splits, random)), "dataset": "coco"}))
    identity = TorchvisionEncoder("resnet50", str(weights), grid=with_grid).identity()
    for split in ("train", "val"):
        ids = [row for row, of in enumerate(splits) if of == split]
        with FeatureWriter(folder / "features" / split, identity, ids, flush_every=2**13) as writer:
            for features in _features(len(ids), random, with_grid=with_grid):
                writer.write(features)


def _features(num_images: int, random: Generator, *, with_grid: bool) -> Iterator[ImageFeatures]:
    """Draw features a chunk at a time. Chunks are the same numbers in another order, which is faster to make."""
    shape = (_ROWS, NUM_CELLS if with_grid else 1, FEATURE_SIZE)
    numbers = torch.from_numpy(random.standard_normal(shape, dtype=np.float32)).half()
    for start in range(0, num_images, _ROWS):
        chunk = numbers.roll(start // _ROWS, dims=-1)[: num_images - start]
        yield ImageFeatures(chunk.float().mean(1), chunk if with_grid else None)


def _entries(splits: list[str], random: Generator) -> Iterator[dict[str, Any]]:
    """Yield the images in the form of dataset_coco.json."""
    captions = iter(_captions(len(splits) * CAPTIONS_PER_IMAGE, random))
    for image, split in enumerate(splits):
        part = "train" if split == "train" and image % 4 else "val"
        ids = range(image * CAPTIONS_PER_IMAGE, (image + 1) * CAPTIONS_PER_IMAGE)
        yield {
            "filepath": f"{part}2014",
            "sentids": list(ids),
            "filename": f"COCO_{part}2014_{image:012}.jpg",
            "imgid": image,
            "split": "restval" if (split, part) == ("train", "val") else split,
            "sentences": [
                {"tokens": words, "raw": " ".join(words).capitalize() + ".", "imgid": image, "sentid": i}
                for i, words in zip(ids, captions, strict=False)
            ],
            "cocoid": image,
        }


def _captions(count: int, random: Generator) -> Iterator[list[str]]:
    """Draw the words of captions.

    The frequency of the n-th most frequent word is proportional to (n + 1) ** -1.5. With COCO's number of captions, as
    in COCO, about 9,000 words occur at least five times.
    """
    words = np.array([_spelled(n) for n in range(_NUM_WORDS)], dtype=object)
    frequencies = np.arange(2.0, _NUM_WORDS + 2) ** -1.5
    lengths = random.normal(_MEAN_WORDS, _DEVIATION, count).round().clip(_FEWEST, _MOST).astype(int)
    drawn = words[random.choice(_NUM_WORDS, lengths.sum(), p=frequencies / frequencies.sum())]
    for end, length in zip(lengths.cumsum(), lengths, strict=True):
        yield drawn[end - length : end].tolist()


def _spelled(number: int) -> str:
    """Spell a number in syllables, so that it looks like a word to every tokenizer."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    word = ""
    while True:
        number, rest = divmod(number, len(syllables))
        word += syllables[rest]
        if not number:
            return word
