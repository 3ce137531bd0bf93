"""English captions for notebooks: real ones of COCO if COCO_CAPTIONS names a file of them, else of generated scenes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from captioning.data.scenes.language import describe
from captioning.data.scenes.layout import sample_layout
from captioning.metrics.files import read_references

ENDINGS = {"": 0.31, ".": 0.62, ",  I think.": 0.04, '. It\'s "nice".': 0.03}
"""What follows a caption of a scene, and how often."""


def read_captions(count: int = 500) -> list[str]:
    """Draw captions of a file in COCO's layout, or describe scenes and spell the captions as people do.

    One in three of the latter begins in lower case, and a few have a comma, two spaces, quotes or an apostrophe.
    """
    rng = np.random.default_rng(0)
    if file := os.environ.get("COCO_CAPTIONS"):
        captions = [caption for group in read_references(Path(file)).values() for caption in group]
        return [captions[row] for row in rng.permutation(len(captions))[:count]]
    captions = [describe(sample_layout(rng), rng)[0].rstrip(".") for _ in range(count)]
    endings = rng.choice(list(ENDINGS), size=count, p=list(ENDINGS.values()))
    lower = rng.random(count) < 1 / 3
    return [
        (caption[0].lower() + caption[1:] if small else caption) + str(ending)
        for caption, ending, small in zip(captions, endings, lower, strict=True)
    ]
