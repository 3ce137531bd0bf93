"""COCO's annotation files are read with captions and objects; what is broken is named by id."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captioning.data.example import CaptionedImage, SceneObject
from captioning.data.images import load_image
from captioning.data.readers.coco import add_objects, coco_files, read_coco, read_json
from captioning.errors import InputError

Content = dict[str, Any]

CAPTIONS: Content = {
    "info": {},
    "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 3, "file_name": "3.jpg"}],
    "annotations": [
        {"id": 12, "image_id": 3, "caption": "A dog."},
        {"id": 11, "image_id": 7, "caption": "A cat \n"},
        {"id": 10, "image_id": 3, "caption": "Dogs"},
    ],
}
INSTANCES: Content = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 100} for i in (3, 5, 7)],
    "annotations": [
        {"id": 2, "image_id": 3, "category_id": 18, "bbox": [20, 10, 100, 50.0], "segmentation": [[1, 2]]},
        {"id": 1, "image_id": 3, "category_id": 1, "bbox": [0, 0, 200, 100], "iscrowd": 1},
        {"id": 4, "image_id": 5, "category_id": 1, "bbox": [0, 0, 1, 1]},
    ],
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
}


def write(folder: Path, name: str, content: object) -> Path:
    (folder / name).write_text(json.dumps(content))
    return folder / name


def changed(content: Content, key: str, index: int, **fields: object) -> Content:
    """The content with some fields of one record replaced."""
    return {**content, key: [{**r, **fields} if i == index else r for i, r in enumerate(content[key])]}


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    return write(tmp_path, "captions.json", CAPTIONS)


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    return write(tmp_path, "instances.json", INSTANCES)


@pytest.fixture
def image_files(tmp_path: Path) -> Path:
    folder = tmp_path / "val2017"
    folder.mkdir()
    for i in (3, 7):
        Image.new("RGB", (200, 100)).save(folder / f"{i}.jpg")
    return folder


def test_images_stand_in_the_files_order_and_captions_in_the_annotations(captions: Path, image_files: Path) -> None:
    images = read_coco(captions, image_files)
    assert [image.image_id for image in images] == [7, 3]
    assert [image.captions for image in images] == [("A cat \n",), ("A dog.", "Dogs")]
    assert [image.objects for image in images] == [(), ()]
    assert images[0].path == image_files / "7.jpg"
    assert load_image(images[0].path).size == (200, 100)
    assert images == read_coco(str(captions), str(image_files))


def test_nothing_is_printed(
    captions: Path, instances: Path, image_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read_coco(captions, image_files, instances)
    assert capsys.readouterr() == ("", "")


def test_objects_are_fractions_in_the_annotations_order(captions: Path, instances: Path, image_files: Path) -> None:
    cat, dog = read_coco(captions, image_files, instances)
    assert cat.objects == ()
    assert [thing.category for thing in dog.objects] == ["dog", "person"]
    assert dog.objects[0].box == pytest.approx((0.1, 0.1, 0.5, 0.5))
    assert dog.objects[1] == SceneObject("person", (0, 0, 1, 1))


def test_objects_are_added_to_any_split_from_the_files_of_the_images_folders(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for folder, dx in (("train2014", 0), ("val2014", 20)):
        content = {**changed(INSTANCES, "annotations", 0, bbox=[dx, 0, 100, 50]), "images": INSTANCES["images"][:2]}
        write(tmp_path / "annotations", f"instances_{folder}.json", content)
    images = [
        CaptionedImage(3, Path("val2014/3.jpg"), ("A dog.",)),
        CaptionedImage(5, Path("train2014/5.jpg"), ("A man.", "He")),
    ]
    dog, man = add_objects(images, tmp_path)
    assert (dog.image_id, dog.path, dog.captions) == (3, Path("val2014/3.jpg"), ("A dog.",))
    assert dog.objects == (SceneObject("dog", (0.1, 0, 0.5, 0.5)), SceneObject("person", (0, 0, 1, 1)))
    assert man.captions == ("A man.", "He")
    assert [thing.category for thing in man.objects] == ["person"]
    with pytest.raises(InputError, match=r"instances_val2014\.json: of the 2 images of val2014/ it lacks 8 \(1\)"):
        add_objects([images[0], CaptionedImage(8, Path("val2014/8.jpg"), ())], tmp_path)


def test_missing_instances_of_a_folder_say_how_to_get_them(tmp_path: Path) -> None:
    expected = r"instances_val2014\.json: no such file, .* 1 images in val2014/; download annotations_trainval2014\.zip"
    with pytest.raises(InputError, match=expected):
        add_objects([CaptionedImage(3, Path("val2014/3.jpg"), ())], tmp_path)


def test_no_object_at_all_is_read_too(captions: Path, image_files: Path, tmp_path: Path) -> None:
    empty = write(tmp_path, "empty.json", {**INSTANCES, "annotations": []})
    assert [image.objects for image in read_coco(captions, image_files, empty)] == [(), ()]


@pytest.mark.parametrize(
    ("box", "clipped", "counted"),
    [
        ([100, 50, 100.4, 50], (0.5, 0.5, 0.5, 0.5), False),
        ([-20, 0, 40, 100], (0, 0, 0.1, 1), True),
        ([300, 0, 40, 100], (1, 0, 0, 1), True),
        ([10, 10, 0, 10], (0.05, 0.1, 0, 0.1), False),
    ],
)
def test_boxes_are_clipped_to_the_image_and_it_is_counted(
    captions: Path,
    image_files: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    box: list[float],
    clipped: tuple[float, ...],
    counted: bool,
) -> None:
    file = write(tmp_path, "instances.json", changed(INSTANCES, "annotations", 0, bbox=box))
    assert read_coco(captions, image_files, file)[1].objects[0].box == pytest.approx(clipped)
    assert ("1 boxes exceed the image by more than a pixel" in caplog.text) == counted


def test_categories_in_a_captions_file_do_no_harm(image_files: Path, tmp_path: Path) -> None:
    file = write(tmp_path, "captions.json", {**CAPTIONS, "categories": INSTANCES["categories"]})
    assert len(read_coco(file, image_files)) == 2


@pytest.mark.parametrize("lists", [{}, {"annotations": []}])
def test_file_without_annotations_keeps_its_images(
    image_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, lists: Content
) -> None:
    caplog.set_level(logging.INFO, "captioning.data.readers.coco")
    file = write(tmp_path, "image_info.json", {"images": CAPTIONS["images"], **lists})
    assert [image.captions for image in read_coco(file, image_files)] == [(), ()]
    assert "no annotations: 2 images without captions" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"expected a list 'images', found none \(keys: annotations\)"),
        ({**CAPTIONS, "annotations": {}}, r"expected a list 'annotations', found type dict"),
        (changed(CAPTIONS, "images", 1, id="3"), r"images\[1\]: expected 'id' of type int, found type str"),
        (changed(CAPTIONS, "images", 1, id=True), r"images\[1\]: expected 'id' of type int, found type bool"),
        (changed(CAPTIONS, "images", 1, file_name=None), r"images\[1\]: expected 'file_name' of type str"),
        (INSTANCES, r"annotations\[0\]: expected 'caption' of type str, found none \(keys: id, image"),
        (changed(CAPTIONS, "images", 1, id=7), r"images with the same id: 7 \(1\); ids must be unique"),
        (changed(CAPTIONS, "annotations", 0, id=11), r"annotations with the same id: 11 \(1\)"),
        (changed(CAPTIONS, "annotations", 1, image_id=9), r"captions of images that are not in it: 9 \(1\)"),
        (changed(CAPTIONS, "annotations", 1, image_id=3), r"of 2 images some have no caption: 7 \(1\)"),
        (changed(CAPTIONS, "annotations", 1, caption=" \n"), r"empty captions of images 7 \(1\)"),
    ],
)  # fmt: skip
def test_broken_captions_are_reported(image_files: Path, tmp_path: Path, content: object, message: str) -> None:
    file = write(tmp_path, "captions.json", content)
    with pytest.raises(InputError, match=rf"captions\.json: {message}"):
        read_coco(file, image_files)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CAPTIONS, r"images\[0\]: expected 'width' of type int, found none"),
        ({**INSTANCES, "images": INSTANCES["images"][:1]}, r"of the 2 images of .* it lacks 7 \(1\)"),
        ({**INSTANCES, "categories": []}, r"annotations of categories that are not in it: 1, 18 \(2\)"),
        ({**INSTANCES, "categories": None}, r"expected a list 'categories', found type NoneType"),
        (changed(INSTANCES, "annotations", 0, bbox=[1, 2, 3]), r"'bbox' is not four numbers in .* 2 \(1\)"),
        (changed(INSTANCES, "annotations", 0, bbox=["1", 2, 3, 4]), r"'bbox' is not four numbers"),
        (changed(INSTANCES, "annotations", 0, bbox=[0, 0, -1, 4]), r".* impossible size in annotations 2"),
        (changed(INSTANCES, "annotations", 0, bbox=[0, 0, float("nan"), 4]), r".* impossible size"),
        (changed(INSTANCES, "annotations", 0, bbox=[0, 0, 10**400, 4]), r"'bbox' is not four numbers"),
        (changed(INSTANCES, "images", 0, width=2**63), r".* impossible size in annotations 2, 1 \(2\)"),
        (changed(INSTANCES, "images", 0, width=0), r".* impossible size in annotations 2, 1 \(2\)"),
    ],
)  # fmt: skip
def test_broken_instances_are_reported(
    captions: Path, image_files: Path, tmp_path: Path, content: object, message: str
) -> None:
    file = write(tmp_path, "instances.json", content)
    with pytest.raises(InputError, match=rf"instances\.json: {message}"):
        read_coco(captions, image_files, file)


def test_missing_images_are_reported_unless_not_needed(captions: Path, image_files: Path, tmp_path: Path) -> None:
    (image_files / "7.jpg").unlink()
    with pytest.raises(InputError, match=r"captions\.json names 2 images, of which 1 have no file: .*7\.jpg"):
        read_coco(captions, image_files)
    with pytest.raises(
        InputError, match=r"train2017: no such folder of images; download train2017\.zip from https://coco"
    ):
        read_coco(captions, tmp_path / "train2017")
    assert len(read_coco(captions, tmp_path / "train2017", check_files=False)) == 2


def test_official_layout_is_named(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    captions = write(tmp_path / "annotations", "captions_val2014.json", CAPTIONS)
    assert coco_files(tmp_path, "val", 2014) == (
        captions,
        tmp_path / "annotations" / "instances_val2014.json",
        tmp_path / "val2014",
    )


def test_missing_annotations_say_what_there_is_and_how_to_get_them(tmp_path: Path) -> None:
    expected = (
        r"annotations.captions_train2017\.json: no such file; captions files found there: {}; download "
        r"annotations_trainval2017\.zip .* from https://cocodataset\.org/#download and unpack it"
    )
    with pytest.raises(InputError, match=expected.format("none")):
        coco_files(tmp_path, "train")
    (tmp_path / "annotations").mkdir()
    write(tmp_path / "annotations", "captions_val2014.json", CAPTIONS)
    with pytest.raises(InputError, match=expected.format(r"captions_val2014\.json")):
        coco_files(tmp_path, "train")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"images": [\n1,, 2]}', r"a\.json:2: broken JSON at column 3 \(Expecting value\)"),
        (b'{"images": [1', r"a\.json:1: broken JSON at column 14"),
        (b"", r"a\.json:1: broken JSON at column 1"),
        (b'{"a": "\xff"}', r"a\.json: not a JSON text \(.*0xff"),
        (b"[" * 200_000, r"a\.json: not a JSON text \(.*recursion"),
        (b"[1]", r"a\.json: expected a JSON object, found a list"),
    ],
)
def test_broken_json_is_reported(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_json(tmp_path / "a.json")


def test_missing_json_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json: cannot be read \(No such file or directory\)"):
        read_json(tmp_path / "a.json")


def test_dropped_keys_are_gone_at_every_depth(tmp_path: Path) -> None:
    content: Mapping[str, object] = {"a": [{"b": 1, "c": {"b": 2, "d": 3}}], "b": 4}
    file = write(tmp_path, "a.json", content)
    assert read_json(file) == content
    assert read_json(file, drop=("b",)) == {"a": [{"c": {"d": 3}}]}


@pytest.mark.shared
@pytest.mark.parametrize(("split", "number"), [("train", 80), ("val", 79)])
def test_real_images_are_read_with_their_objects(shared: Path, split: str, number: int) -> None:
    captions, instances, image_files = coco_files(shared / "data" / "coco_mini", split)
    images = read_coco(captions, image_files, instances)
    content = json.loads(instances.read_text())
    assert len(images) == number
    assert all(len(image.captions) >= 5 and image.objects for image in images)
    # A second way: each box times the size of its opened image is the annotation's.
    things = {image.image_id: iter(image.objects) for image in images}
    sizes = {image.image_id: load_image(image.path).size for image in images}
    for annotation in content["annotations"]:
        width, height = sizes[annotation["image_id"]]
        x, y, w, h = next(things[annotation["image_id"]]).box
        assert (x * width, y * height, w * width, h * height) == pytest.approx(annotation["bbox"], abs=1e-6)


@pytest.mark.shared
def test_all_captions_of_val2017_are_read(shared: Path) -> None:
    file = shared / "data" / "coco_captions" / "captions_val2017.json"
    images = read_coco(file, "val2017", check_files=False)
    assert (len(images), sum(len(image.captions) for image in images)) == (5_000, 25_014)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png"])
def test_file_names_outside_the_image_folder_are_refused(tmp_path: Path, image_files: Path, name: str) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    file = write(tmp_path, "captions.json", changed(CAPTIONS, "images", 1, file_name=name))
    for check_files in (True, False):
        with pytest.raises(InputError, match=r"captions\.json names .* which is not inside"):
            read_coco(file, image_files, check_files=check_files)
