"""The pointing game on a split: where an aligner's words point, and where the objects are that they name.

The words are those that the data set's mentions give, as the generated scenes do, or else the nouns that name an
annotated category. A word that the vocabulary lacks counts like others: the model aligns its `<unk>`. Of a name of
several tokens the last one points: in "fire hydrant", "hydrant".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from captioning.data.example import CaptionedImage, Mention
from captioning.data.images import load_image
from captioning.data.module import CaptionDataModule
from captioning.encoders.features import ImageFeatures
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.matchers.alignment import align
from captioning.metrics.pointing import cell_centres, central_cells, hits, in_boxes
from captioning.model.aligner import Aligner
from captioning.model.attention_maps import grid_shape
from captioning.modes import evaluating
from captioning.text.category_names import CategoryNames
from captioning.text.tokenizer import Tokenizer

NOUN = "noun"
"""The kind of words that name a category."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """A word that names or describes objects of its image.

    Attributes:
        text: the word in lower case.
        kind: the mention's, such as "colour", or `NOUN`.
        caption: the row of its caption among the image's.
        token: the row of the token that points among the caption's tokens.
        known: whether the vocabulary has this token.
        objects: the rows of the objects among the image's; each of them is right.
    """

    text: str
    kind: str
    caption: int
    token: int
    known: bool
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Pointing:
    """Where the words of a split point.

    Attributes:
        words: N words.
        images: (N,) the row of each word's image in the split.
        hits: (N, 6) by `captioning.metrics.pointing.hits`.
        beta: β of the alignment.
        num_images: images of the split, also those without a word.
        left_out: how many words are left out, by the reason.
    """

    words: tuple[Target, ...]
    images: NDArray[np.int64]
    hits: Floats
    beta: float
    num_images: int
    left_out: Mapping[str, int]


def point(aligner: Aligner, data: CaptionDataModule, *, beta: float = 0.0) -> Pointing:
    """Align the captions of the data module's split with their images, and compare words with boxes.

    Args:
        aligner: a model that has a vector for each word and each grid cell.
        data: a data module that was built with the model's encoder, transform and tokenizer. Its reader gives objects.
        beta: β of the alignment, see `captioning.matchers.alignment`.

    Raises:
        InputError: no caption names an object with a box, the model has no vector for each word, its regions are no
            grid of the image, β is negative, or an image cannot be read.
    """
    if aligner.encoder.reads != "images":
        raise InputError(
            f"pointing: it is not known where the regions of {aligner.encoder.model_name} lie in the image; use an "
            "encoder of images with encoder.grid=true"
        )
    images = data.splits.images(data.split)
    targets, left_out = find_targets(images, aligner.tokenizer)
    if not any(targets):
        raise InputError(
            f"pointing: no caption of {data.splits.name} {data.split} names an object with a box; use data with boxes, "
            "such as scenes or coco2017"
        )
    row_of = {image.image_id: row for row, image in enumerate(images)}
    found: dict[int, Floats] = {}
    for batch in track(data.evaluation_dataloader(data.split), "aligning words and regions"):
        with torch.inference_mode(), evaluating(aligner):
            features = aligner.features(batch.to(aligner.device))
        for number, image_id in enumerate(batch.image_ids):
            row = row_of[image_id]
            if targets[row]:
                own = features.rows(torch.tensor([number], device=aligner.device))
                found[row] = _hits(aligner, own, images[row], targets[row], beta)
    rows = [row for row, own in enumerate(targets) if own]
    return Pointing(
        words=tuple(target for row in rows for target in targets[row]),
        images=np.repeat(rows, [len(targets[row]) for row in rows]),
        hits=np.concatenate([found[row] for row in rows]),
        beta=beta,
        num_images=len(images),
        left_out=left_out,
    )


def find_targets(images: Sequence[CaptionedImage], tokenizer: Tokenizer) -> tuple[list[list[Target]], dict[str, int]]:
    """Find the words of each image that name or describe its objects.

    Args:
        images: a split with objects. If any image has mentions, these are the words; else nouns are.
        tokenizer: the model's.

    Returns:
        The words of each image, and how many words are left out, by the reason.
    """
    names = CategoryNames(found.category for image in images for found in image.objects)
    mentioned = any(image.mentions for image in images)
    left_out: Counter[str] = Counter()
    targets = []
    for image in images:
        mentions = list(image.mentions if mentioned else _nouns(image, names))
        with_box = [mention for mention in mentions if mention.objects]
        left_out["name a category of which the image has no box"] += len(mentions) - len(with_box)
        targets.append(list(_targets(image, with_box, tokenizer)))
        left_out["have no token"] += len(with_box) - len(targets[-1])
    return targets, {reason: count for reason, count in left_out.items() if count}


def _nouns(image: CaptionedImage, names: CategoryNames) -> Iterator[Mention]:
    """Find the nouns that name a category, with all of the image's objects of it, of which there may be none."""
    for row, caption in enumerate(image.captions):
        for begin, end, category in names.find(caption):
            objects = tuple(i for i, found in enumerate(image.objects) if found.category == category)
            yield Mention(row, begin, end, NOUN, objects)


def _targets(image: CaptionedImage, mentions: Sequence[Mention], tokenizer: Tokenizer) -> Iterator[Target]:
    spans = tokenizer.spans(image.captions)
    ids = [own[1:-1] for own in tokenizer.encode(image.captions)]
    for mention in mentions:
        row = mention.caption
        tokens = [i for i, (begin, end) in enumerate(spans[row]) if begin < mention.end and end > mention.begin]
        if tokens:
            text = image.captions[row][mention.begin : mention.end].lower()
            known = ids[row][tokens[-1]] != tokenizer.special.unk
            yield Target(text, mention.kind, row, tokens[-1], known, mention.objects)


def _hits(
    aligner: Aligner, features: ImageFeatures, image: CaptionedImage, targets: Sequence[Target], beta: float
) -> Floats:
    """Align an image's captions, and compare its words with its boxes: (N, 6)."""
    psi = aligner.affinities(features, image.captions)
    assert features.grid is not None  # `affinities` refuses others
    grid = grid_shape(features.grid.shape[1], *aligner.image_transform.size)
    regions = [align(own, beta=beta) for own in psi]  # 0 is the whole image
    cells = [align(own[:, 1:], beta=beta) for own in psi]
    centres = _centres(aligner.image_transform, grid, image)
    boxes = np.array([found.box for found in image.objects])
    return hits(
        np.array([regions[target.caption][target.token] - 1 for target in targets]),
        np.array([cells[target.caption][target.token] for target in targets]),
        np.stack([in_boxes(centres, boxes[list(target.objects)]) for target in targets]),
        central_cells(*grid),
    )


def _centres(transform: ImageTransform, grid: tuple[int, int], image: CaptionedImage) -> Floats:
    """Compute the centres of the grid cells as fractions of the image, (R, 2); a squashed image needs no file."""
    centres = cell_centres(*grid)
    return centres if transform.mode == "squash" else transform.points_in_image(centres, load_image(image.path).size)
