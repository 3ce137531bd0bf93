"""Annotated objects as tensors."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from captioning.data import Splits
from captioning.data.example import CaptionedImage, SceneObject
from captioning.data.layouts import Layouts, categories
from captioning.data.readers import Coco
from captioning.errors import InputError

BOX = (0.1, 0.2, 0.3, 0.4)


def image(*names: str) -> CaptionedImage:
    things = tuple(SceneObject(name, (0.1 * n, 0.2, 0.3, 0.4)) for n, name in enumerate(names))
    return CaptionedImage("x", Path("x.jpg"), ("a caption",), things)


def test_objects_keep_the_annotation_s_order_and_are_padded():
    images = [image("dog", "cat", "dog"), image("cat"), image()]
    objects = Layouts(images, ["cat", "dog"])[[1, 0, 2]]
    assert objects.mask.tolist() == [[True, False, False], [True] * 3, [False] * 3]
    assert objects.categories[1].tolist() == [1, 0, 1]
    assert objects.categories[0, 0] == 0
    assert objects.boxes[1, :, 0].tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert objects.boxes[1, 0, 1:].tolist() == pytest.approx([0.2, 0.3, 0.4])


def test_a_batch_without_objects_has_one_empty_place():
    assert Layouts([image("cat"), image()], ["cat"])[[1]].mask.tolist() == [[False]]


def test_a_split_without_any_object_is_refused():
    with pytest.raises(InputError, match=r"none of the 2 images has any; add data\.objects=true"):
        Layouts([image(), image()], ["cat"])


def test_objects_left_out_are_counted(caplog: pytest.LogCaptureFixture):
    images = [image("cat", "fox", "cat", "cat"), image("fox")]
    with caplog.at_level(logging.WARNING):
        objects = Layouts(images, ["cat"], max_objects=2)[[0, 1]]
    assert objects.mask.tolist() == [[True, True], [False, False]]
    assert (
        "2 have categories that are not in the training split and are left out; 1 images have more than 2 objects, "
        "and the rest are left out; 1 images have none" in caplog.text
    )


def test_categories_are_in_alphabetical_order_and_must_exist():
    assert categories([image("dog", "cat"), image("dog")]) == ["cat", "dog"]
    with pytest.raises(InputError, match=r"none of the 1 training images has any; add data\.objects=true"):
        categories([image()])


@pytest.mark.shared
def test_real_annotations_are_layouts(shared: Path):
    data = Splits(Coco(str(shared / "data" / "coco_mini"), objects=True))
    images = data.images("train")
    names = data.categories("train")
    objects = Layouts(images, names)[range(len(images))]
    assert {"person", "dog"} <= set(names)
    assert objects.mask.sum() == sum(len(image.objects[:96]) for image in images)
    assert objects.mask[:, 0].float().mean() > 0.9
    boxes = objects.boxes[objects.mask]
    assert boxes.min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 1 + 1e-6
    assert names[objects.categories[0, 0]] == images[0].objects[0].category
