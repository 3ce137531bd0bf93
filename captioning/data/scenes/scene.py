"""Generate one scene from its seed, split and index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from captioning.data.scenes.language import describe
from captioning.data.scenes.layout import Layout, Thing, sample_layout
from captioning.data.scenes.render import render
from captioning.errors import InputError

SPLITS = ("train", "val", "test")
MAX_IMAGES = 1_000_000  # per split, so that the image ids of two splits do not overlap
MIN_SIZE, MAX_SIZE = 32, 1024  # pixels; smaller images show too little, larger ones take gigabytes


@dataclass(frozen=True, slots=True)
class Scene:
    """An image, its content, and five captions.

    Attributes:
        image_id: unique across the splits of a seed.
        image: RGB, square.
        background: such as "grass".
        relation: the relation of the first object to the second, such as "left of", or "between" the second and third.
        objects: the two or three objects of the relation, then the others; boxes enclose the visible parts.
        captions: five different English sentences, all true.
    """

    image_id: int
    image: Image.Image
    background: str
    relation: str
    objects: tuple[Thing, ...]
    captions: tuple[str, ...]


def generate_scene(seed: int, split: str, index: int, size: int = 96) -> Scene:
    """Generate one scene. The same arguments always give the same pixels and words.

    Args:
        seed: the seed of the data set, at least 0.
        split: "train", "val" or "test".
        index: the index of the scene in its split, from 0.
        size: pixels per side. Objects and captions do not depend on it.

    Raises:
        InputError: an argument is out of its range.
    """
    layout, rng = sample_scene(seed, split, index, size)
    captions = describe(layout, rng)
    return scene_of(layout, captions, render(layout, rng, size), split, index)


def sample_scene(seed: int, split: str, index: int, size: int) -> tuple[Layout, np.random.Generator]:
    """Sample the layout of a scene. Return the generator too: it first describes and then paints the scene.

    Raises:
        InputError: an argument is out of its range.
    """
    if split not in SPLITS:
        raise InputError(f"expected one of the splits {', '.join(SPLITS)}, found {split!r}; choose one of these")
    check_range("seed", seed, 0)
    check_range("index", index, 0, MAX_IMAGES - 1)
    check_range("size", size, MIN_SIZE, MAX_SIZE)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), index)))
    return sample_layout(rng), rng


def scene_of(layout: Layout, captions: tuple[str, ...], image: Image.Image, split: str, index: int) -> Scene:
    """Put together a scene from its layout, its captions and its image."""
    return Scene(
        image_id=(SPLITS.index(split) + 1) * MAX_IMAGES + index,
        image=image,
        background=layout.background,
        relation=layout.relation,
        objects=layout.things,
        captions=captions,
    )


def check_range(name: str, value: int, low: int, high: int | None = None) -> None:
    """Check that `value` is in the closed range from `low` to `high`.

    Raises:
        InputError: the value is outside the range.
    """
    if value < low or (high is not None and value > high):
        expected = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"scenes: {name} must be {expected}, found {value}")
