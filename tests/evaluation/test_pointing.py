"""Words and boxes of a split, by an aligner whose regions are known, against the annotation files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from captioning import Aligner
from captioning.data import CaptionDataModule, Loading, Splits
from captioning.data.readers import Coco
from captioning.data.splits import Reader
from captioning.encoders import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.regions import Regions
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.evaluation.pointing import Pointing, find_targets, point
from captioning.matchers import Embedded, Matcher
from captioning.matchers.similarity import best_regions
from captioning.text import train_words

SQUASH = ImageTransform((12, 12), mode="squash")


class Places(Encoder):
    """Gives every image the same features: those of the whole image and of each grid cell are unit vectors."""

    def __init__(self, transform: ImageTransform, num_cells: int) -> None:
        super().__init__("places", grid=True, transform=transform)
        self.vectors = torch.nn.Parameter(torch.eye(1 + num_cells))

    def forward(self, images: Tensor) -> ImageFeatures:
        pooled = self.vectors[:1].expand(len(images), -1)
        return ImageFeatures(pooled, self.vectors[None, 1:].expand(len(images), -1, -1))


class Table(Matcher):
    """Gives every word the score of each region from a table, (V, 1 + R)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.vocab_size, self.table = len(table), torch.nn.Parameter(table)

    def images(self, features: ImageFeatures) -> Embedded:
        assert features.grid is not None
        return Embedded(torch.cat([features.pooled[:, None], features.grid], 1))

    def sentences(self, tokens: Tensor, lengths: Tensor) -> Embedded:
        return Embedded(self.table[tokens], torch.arange(tokens.shape[1]) < lengths[:, None])

    def similarity(self, images: Embedded, sentences: Embedded) -> Tensor:
        return best_regions(images, sentences)


def played(
    reader: Reader, regions: dict[str, int], *, cells: int, transform: ImageTransform = SQUASH, beta: float = 0.0,
    second: dict[str, int] | None = None,
) -> Pointing:  # fmt: skip
    """Play with an aligner that prefers a region for each word, and then another; -1 is the whole image."""
    splits = Splits(reader)
    tokenizer = train_words(splits.captions("val"), min_count=1)
    table = torch.zeros(len(tokenizer), 1 + cells)
    for score, chosen in ((1.0, second or {}), (2.0, regions)):
        for word, region in chosen.items():
            table[tokenizer.backend.token_to_id(word), 1 + region] = score
    aligner = Aligner(Places(transform, cells), Table(table), tokenizer).eval()
    data = CaptionDataModule(
        splits, Loading(eval_batch_size=3), encoder=aligner.encoder, transform=transform, tokenizer=tokenizer
    )
    return point(aligner, data, beta=beta)


def coco(
    root: Path, captions: list[tuple[str, ...]], boxes: list[list[tuple[str, Any]]], size: tuple[int, int] = (40, 20)
) -> Coco:
    """Write images of one size with their captions and boxes in pixels."""
    names = sorted({name for own in boxes for name, _ in own})
    images = [{"id": n, "file_name": f"{n}.jpg", "width": size[0], "height": size[1]} for n in range(len(captions))]
    (root / "annotations").mkdir()
    (root / "val2017").mkdir()
    for image in images:
        Image.new("RGB", size).save(root / "val2017" / image["file_name"])
    for kind, written, further in (
        ("captions", [{"caption": text} for own in captions for text in own], {}),
        (
            "instances",
            [{"category_id": names.index(name), "bbox": list(box)} for own in boxes for name, box in own],
            {"categories": [{"id": i, "name": name} for i, name in enumerate(names)]},
        ),
    ):
        owners = [n for n, own in enumerate(captions if kind == "captions" else boxes) for _ in own]
        numbered = [{"id": i, "image_id": owners[i], **a} for i, a in enumerate(written)]
        content = {"images": images, "annotations": numbered, **further}
        (root / "annotations" / f"{kind}_val2017.json").write_text(json.dumps(content))
    return Coco(str(root), objects=True)


def test_on_scenes_words_are_those_of_the_mentions_and_hits_those_of_the_files(scenes: Path) -> None:
    random = np.random.default_rng(0)
    words = {word for text in Splits(Coco(str(scenes))).captions("val") for word in text.lower().strip(".").split()}
    regions = {word.strip(",:"): int(random.integers(-1, 9)) for word in sorted(words)}
    own = played(Coco(str(scenes), objects=True), regions, cells=9)

    captions, instances = (
        json.loads((scenes / "annotations" / f"{kind}_val2017.json").read_text()) for kind in ("captions", "instances")
    )
    boxes = {box["id"]: box["bbox"] for box in instances["annotations"]}
    expected = []
    for annotation in captions["annotations"]:
        for mention in annotation["mentions"]:
            region = regions[annotation["caption"].lower()[mention["begin"] : mention["end"]]]
            x, y = (region % 3 + 0.5) * 32 / 3, (region // 3 + 0.5) * 32 / 3
            [(left, top, width, height)] = [boxes[i] for i in mention["instances"]]
            expected.append(region >= 0 and left <= x <= left + width and top <= y <= top + height)
    assert own.hits[:, 0].tolist() == expected
    assert 0 < sum(expected) < len(expected)
    assert {word.kind for word in own.words} == {"colour", "shape"}
    assert (own.num_images, own.left_out) == (8, {})


def test_nouns_that_name_a_category_may_point_into_any_of_its_boxes(tmp_path: Path) -> None:
    reader = coco(
        tmp_path,
        [("Two dogs by a fire hydrant.", "A dog."), ("A cat.", "The man and a dog sleep.")],
        [
            [("dog", (0, 0, 4, 4)), ("dog", (30, 10, 10, 10)), ("fire hydrant", (0, 10, 10, 10))],
            [("dog", (0, 0, 9, 9))],
        ],
    )
    regions = {"dogs": 3, "hydrant": 2, "fire": 1, "dog": 0, "cat": 0, "man": 0}
    own = played(reader, regions, cells=4)  # of which the centres are at 10 or 30, and 5 or 15
    assert [(word.text, word.kind) for word in own.words] == [
        ("dogs", "noun"), ("fire hydrant", "noun"), ("dog", "noun"), ("dog", "noun")
    ]  # fmt: skip
    assert own.images.tolist() == [0, 0, 0, 1]
    assert own.hits[:, 0].tolist() == [1, 1, 0, 0]
    assert own.hits[:, 4].tolist() == [1, 1, 1, 0]  # the box of the second image holds no cell's centre
    assert own.left_out == {"name a category of which the image has no box": 2}


def test_centres_of_a_crop_are_mapped_back_to_the_image(tmp_path: Path) -> None:
    # The middle 20 of 40 pixels are seen: the centres of four cells are at x = 15, 25 and y = 5, 15.
    transform = ImageTransform((12, 12), 12)
    boxes = [[("dog", (14, 4, 2, 2)), ("cat", (9, 4, 2, 2))]]
    own = played(coco(tmp_path, [("a dog, a cat",)], boxes), {"dog": 0, "cat": 0}, cells=4, transform=transform)
    assert own.hits[:, [0, 4]].tolist() == [[1, 1], [0, 0]]


def test_the_best_grid_cell_counts_beside_the_whole_image(tmp_path: Path) -> None:
    reader = coco(tmp_path, [("a dog, a cat",)], [[("dog", (30, 10, 10, 10)), ("cat", (0, 0, 10, 10))]])
    own = played(reader, {"dog": -1, "cat": 3}, second={"dog": 3}, cells=4)
    assert own.hits[:, [0, 1, 5]].tolist() == [[0, 1, 1], [0, 0, 0]]


def test_beta_lets_neighbours_share_a_region(tmp_path: Path) -> None:
    reader = coco(tmp_path, [("dog cat dog",)], [[("dog", (0, 0, 10, 10)), ("cat", (0, 0, 10, 10))]])
    regions, second = {"dog": 0, "cat": 3}, {"cat": 0}
    assert played(reader, regions, second=second, cells=4).hits[:, 0].tolist() == [1, 0, 1]
    assert played(reader, regions, second=second, cells=4, beta=1.0).hits[:, :2].tolist() == [[1, 1]] * 3


def test_words_that_the_model_does_not_know_count(tmp_path: Path) -> None:
    reader = coco(tmp_path, [("a dog",)], [[("dog", (0, 0, 10, 10))]])
    targets, left_out = find_targets(reader.read("val"), train_words(["a cat"], min_count=1))
    assert [(word.text, word.token, word.known, word.objects) for word in targets[0]] == [("dog", 1, False, (0,))]
    assert left_out == {}


def test_data_without_boxes_are_refused(tmp_path: Path) -> None:
    reader = coco(tmp_path, [("a dog",)], [[]])
    with pytest.raises(InputError, match="no caption of coco val names an object with a box; use data with boxes"):
        played(reader, {"dog": 0}, cells=4)


def test_regions_without_a_known_place_are_refused(tmp_path: Path) -> None:
    reader = coco(tmp_path, [("a dog",)], [[("dog", (0, 0, 10, 10))]])
    tokenizer = train_words(["a dog"], min_count=1)
    encoder = Regions(feature_size=5)
    aligner = Aligner(encoder, Table(torch.zeros(len(tokenizer), 5)), tokenizer)
    data = CaptionDataModule(
        Splits(reader), Loading(), encoder=encoder, transform=encoder.transform, tokenizer=tokenizer
    )  # fmt: skip
    with pytest.raises(InputError, match="not known where the regions of bottom_up lie in the image; use an encoder"):
        point(aligner, data)


@pytest.mark.shared
def test_nouns_of_coco_s_own_captions_and_boxes(shared: Path) -> None:
    root = shared / "data" / "coco_mini"
    own = played(Coco(str(root), objects=True), {}, cells=49, transform=ImageTransform((14, 14), 14))
    named = {word.text for word in own.words}
    assert {"man", "people", "fire hydrant", "zebras"} <= named
    assert not named & {"hot dogs", "zoo", "hydrants"}
    assert len(own.words) > 500
    middle, chance, bound = own.hits[:, 2:5].mean(axis=0)  # photographers centre what they mean
    assert 0.2 < chance < middle < bound < 1

    files = [
        json.loads((root / "annotations" / f"{kind}_val2017.json").read_text()) for kind in ("captions", "instances")
    ]
    [dog] = [category["id"] for category in files[1]["categories"] if category["name"] == "dog"]
    with_dogs = {box["image_id"] for box in files[1]["annotations"] if box["category_id"] == dog}
    texts = [a["caption"].lower() for a in files[0]["annotations"] if a["image_id"] in with_dogs]
    expected = sum(len(re.findall(r"\b(?:dogs?|puppy|puppies)\b", text)) for text in texts)
    assert sum(word.text in ("dog", "dogs", "puppy", "puppies") for word in own.words) == expected > 5
