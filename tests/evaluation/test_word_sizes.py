"""Sizes of the objects that words mention, against the annotation files and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from captioning.data import Splits
from captioning.data.example import CaptionedImage, Mention, SceneObject
from captioning.data.readers import Coco
from captioning.evaluation.word_sizes import find_sizes
from captioning.text import train_words


def test_on_scenes_sizes_are_those_of_the_files(scenes: Path) -> None:
    splits = Splits(Coco(str(scenes), objects=True))
    tokenizer = train_words(splits.captions("val"), min_count=1)
    words = tokenizer.vocabulary[4:]
    found = find_sizes(splits.images("val"), tokenizer, range(4, len(tokenizer)))
    assert found is not None

    captions, instances = (
        json.loads((scenes / "annotations" / f"{kind}_val2017.json").read_text())["annotations"]
        for kind in ("captions", "instances")
    )
    boxes = {box["id"]: box["bbox"] for box in instances}
    mentions = {
        (annotation["image_id"], annotation["caption"][mention["begin"] : mention["end"]].lower(), instance)
        for annotation in captions
        for mention in annotation["mentions"]
        for instance in mention["instances"]
    }
    areas = {instance: boxes[instance][2] * boxes[instance][3] / 32**2 for _, _, instance in mentions}
    low, high = np.quantile(list(areas.values()), [1 / 3, 2 / 3])
    assert found.limits == pytest.approx((low, high))
    expected = np.zeros((8, len(words)), int)
    rows = list(dict.fromkeys(annotation["image_id"] for annotation in captions))
    for image_id, word, instance in mentions:
        size = 0 if areas[instance] <= low else 1 if areas[instance] <= high else 2
        expected[rows.index(image_id), words.index(word)] |= 1 << size
    assert found.sizes.tolist() == expected.tolist()
    assert find_sizes(Splits(Coco(str(scenes))).images("val"), tokenizer, range(4, len(tokenizer))) is None


def image(captions: list[str], objects: list[tuple[str, float]], mentions: tuple[Mention, ...] = ()) -> CaptionedImage:
    """An image whose objects have boxes of these widths, and a height of 0.5."""
    found = tuple(SceneObject(name, (0.0, 0.0, width, 0.5)) for name, width in objects)
    return CaptionedImage(0, Path("x.jpg"), tuple(captions), found, mentions=mentions)


def test_without_mentions_nouns_name_the_boxes_of_their_category() -> None:
    images = [
        image(["a dog and a cat"] * 5, [("dog", 0.2), ("dog", 1.0), ("person", 0.6)]),
        image(["two dogs"] * 5, [("cat", 0.1)]),
    ]
    tokenizer = train_words([caption for own in images for caption in own.captions], min_count=1)
    found = find_sizes(images, tokenizer, [tokenizer.backend.token_to_id(word) for word in ("dog", "cat", "dogs", "a")])
    assert found is not None
    assert found.sizes.tolist() == [[5, 0, 0, 0], [0, 0, 0, 0]]  # nobody mentions the person or the cat's box
    assert found.limits == pytest.approx((0.1 + 0.4 / 3, 0.1 + 0.8 / 3))


def test_of_more_captions_the_first_five_mention_objects() -> None:
    objects = [("ball", 0.2), ("ball", 0.8)]
    mentions = (Mention(4, 2, 5, "colour", (0,)), Mention(5, 2, 5, "colour", (1,)))
    tokenizer = train_words(["a red ball"], min_count=1)
    red = [tokenizer.backend.token_to_id("red")]
    found = find_sizes([image(["a red ball"] * 6, objects, mentions)], tokenizer, red)
    assert found is not None
    assert (found.limits, found.sizes.tolist()) == ((0.1, 0.1), [[1]])
    assert find_sizes([image(["a red ball"] * 6, objects, mentions[1:])], tokenizer, red) is None
