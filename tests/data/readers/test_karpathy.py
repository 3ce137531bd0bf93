"""Karpathy's JSON of Flickr8k, Flickr30k and COCO is read, and what breaks its form is named by its place."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captioning.data.images import load_image
from captioning.data.readers import karpathy
from captioning.data.readers.karpathy import _decoded, read_karpathy
from captioning.errors import InputError

Entry = dict[str, Any]


def entry(number: int, split: str, captions: list[str], folder: str | None = None) -> Entry:
    """One image as Karpathy writes it; with a folder as in COCO's file."""
    sentences = [
        {"tokens": caption.lower().split(), "raw": caption, "imgid": number, "sentid": 5 * number + k}
        for k, caption in enumerate(captions)
    ]
    flickr = {
        "sentids": [sentence["sentid"] for sentence in sentences],
        "imgid": number,
        "sentences": sentences,
        "split": split,
        "filename": f"{number}.jpg",
    }
    return flickr if folder is None else {**flickr, "filepath": folder, "cocoid": 100 + number}


FLICKR = [
    entry(0, "train", ["A dog .", "Dogs"]),
    entry(1, "val", ["A cat ."]),
    entry(2, "test", ["A boat ."]),
    entry(3, "train", ["Two  spaces\n"]),
]
COCO = [
    entry(0, "val", ["A cat ."], "val2014"),
    entry(1, "restval", ["A dog .", "Dogs"], "val2014"),
    entry(2, "train", ["A boat ."], "train2014"),
    entry(3, "test", ["A tree ."], "val2014"),
]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[object], Path]:
    def write(images: object) -> Path:
        file = tmp_path / "dataset.json"
        file.write_text(json.dumps({"images": images, "dataset": "any"}))
        return file

    return write


def changed(number: int, **fields: object) -> list[Entry]:
    return [{**image, **fields} if i == number else image for i, image in enumerate(FLICKR)]


def without(field: str, images: list[Entry], number: int) -> list[Entry]:
    return [
        {key: value for key, value in image.items() if i != number or key != field} for i, image in enumerate(images)
    ]


def test_flickr_images_are_named_by_their_files(write: Callable[[object], Path], tmp_path: Path) -> None:
    for image in FLICKR:
        Image.new("RGB", (4, 3)).save(tmp_path / image["filename"])
    images = read_karpathy(write(FLICKR), tmp_path, "train")
    assert [image.image_id for image in images] == ["0.jpg", "3.jpg"]
    assert [image.captions for image in images] == [("A dog .", "Dogs"), ("Two  spaces\n",)]
    assert load_image(images[0].path).size == (4, 3)
    assert images == read_karpathy(str(write(FLICKR)), str(tmp_path), "train")


def test_coco_images_are_named_by_cocos_ids_and_lie_in_its_folders(
    write: Callable[[object], Path], tmp_path: Path
) -> None:
    for image in COCO:
        (tmp_path / image["filepath"]).mkdir(exist_ok=True)
        Image.new("RGB", (4, 3)).save(tmp_path / image["filepath"] / image["filename"])
    (image,) = read_karpathy(write(COCO), tmp_path, "test")
    assert (image.image_id, image.path) == (103, tmp_path / "val2014" / "3.jpg")
    assert load_image(image.path).size == (4, 3)


def test_train_takes_restval_too_in_the_files_order(write: Callable[[object], Path], tmp_path: Path) -> None:
    images = read_karpathy(write(COCO), tmp_path, "train", check_files=False)
    assert [image.image_id for image in images] == [101, 102]


def test_missing_images_are_reported(write: Callable[[object], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json names 2 images, of which 2 have no file: .*0\.jpg"):
        read_karpathy(write(FLICKR), tmp_path, "train")


@pytest.mark.parametrize("split", ["restval", "dev"])
def test_unknown_split_is_reported(write: Callable[[object], Path], tmp_path: Path, split: str) -> None:
    with pytest.raises(InputError, match=f"split='{split}': Karpathy's splits are train, val and test"):
        read_karpathy(write(COCO), tmp_path, split)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (FLICKR[:1], r"no image of split val; images by split: \{'train': 1\}"),
        ([], r"no image of split val; images by split: \{\}"),
        (changed(2, split="tset"), r"unknown splits \['tset'\]; expected restval, test, train, val"),
        ([*FLICKR, FLICKR[2]], r"1 images occur twice, the first is 2\.jpg; keep one"),
        (changed(1, sentences=[]), r"images\[1\] \(1\.jpg\): no caption"),
        (changed(1, sentences=[{"raw": " \n"}]), r"images\[1\] \(1\.jpg\): an empty caption"),
        (changed(1, sentences=[{"text": "A"}]), r"images\[1\]: sentences\[0\]: expected 'raw' of type str"),
        (changed(1, sentences="A"), r"images\[1\]: expected 'sentences' of type list, found type str"),
        (without("filename", FLICKR, 3), r"images\[3\]: expected 'filename' of type str, found none"),
        (without("cocoid", COCO, 2), r"images\[2\]: expected 'cocoid' of type int, found none"),
        (without("filepath", COCO, 2), r"images\[2\]: expected 'filepath' of type str, found none"),
        ({"0": FLICKR[0]}, r"expected a list 'images', found type dict \(keys: images, dataset\)"),
        ([*FLICKR, "x.jpg"], r"images\[4\]: expected an object, found a str"),
    ],
)  # fmt: skip
def test_broken_file_is_reported_with_the_place(
    write: Callable[[object], Path], tmp_path: Path, images: object, message: str
) -> None:
    with pytest.raises(InputError, match=rf"dataset\.json: {message}"):
        read_karpathy(write(images), tmp_path, "val", check_files=False)


def test_uncaptioned_image_of_another_split_does_no_harm(write: Callable[[object], Path], tmp_path: Path) -> None:
    assert len(read_karpathy(write(changed(1, sentences=[])), tmp_path, "test", check_files=False)) == 1


READ_AND_MEASURE = """
import resource, sys, time
from captioning.data.readers.karpathy import _decoded, read_karpathy
start = time.perf_counter()
images = read_karpathy(sys.argv[1], "nowhere", "train", check_files=False)
seconds, kibibytes = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(images), sum(len(image.captions) for image in images), seconds, kibibytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone")
def test_a_file_of_cocos_size_is_read_within_a_minute_and_two_gigabytes(tmp_path: Path) -> None:
    caption = "A man riding a wave on top of a surfboard in the ocean ."
    with (tmp_path / "dataset.json").open("w") as file:
        for i in range(123_287):
            file.write('{"images": [' if i == 0 else ",\n")
            split = "val" if i < 5_000 else "train"
            file.write(json.dumps(entry(i, split, [caption] * (6 if i < 332 else 5), "train2014")))
        file.write("]}")
    # In a process of its own, whose peak of memory is the reader's.
    command = [sys.executable, "-c", READ_AND_MEASURE, str(tmp_path / "dataset.json")]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert found[:2] == ["118287", "591435"]
    assert float(found[2]) < 60
    assert int(found[3]) < 2 * 2**20


def test_a_file_that_is_missing_is_reported_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset_coco\.json: no such file, .*unpack https://.*data\.karpathy=FILE"):
        read_karpathy(tmp_path / "dataset_coco.json", tmp_path, "val")


@pytest.mark.parametrize(
    ("folder", "name"), [("val2014", "../../secret.png"), ("", "/etc/secret.png"), ("..", "secret.png"), ("/", "a.jpg")]
)
def test_names_outside_the_image_folder_are_refused(
    write: Callable[[object], Path], tmp_path: Path, folder: str, name: str
) -> None:
    file = write([*COCO[:2], {**COCO[2], "filename": name, "filepath": folder}])
    for check_files in (True, False):
        with pytest.raises(InputError, match=r"which is not inside"):
            read_karpathy(file, tmp_path / "images", "train", check_files=check_files)


@pytest.mark.parametrize("images", [FLICKR, COCO])
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":"), (" , ", " : ")])
def test_the_form_of_the_json_does_not_matter(tmp_path: Path, images: list[Entry], separators: tuple[str, str]) -> None:
    file, plain = tmp_path / "dataset.json", tmp_path / "plain.json"
    plain.write_text(json.dumps({"images": images, "dataset": "any"}))
    file.write_text(json.dumps({"dataset": '"raw":', "images": images}, separators=separators), encoding="utf-8-sig")
    for split in ("train", "val", "test"):
        expected = read_karpathy(plain, tmp_path, split, check_files=False)
        assert read_karpathy(file, tmp_path, split, check_files=False) == expected


def test_the_quick_reader_serves_the_usual_file_and_leaves_every_other_to_the_careful_one(tmp_path: Path) -> None:
    file = tmp_path / "dataset.json"
    for images in (FLICKR, COCO):
        text = json.dumps({"images": images})
        file.write_text(text)
        assert [entry.filename for entry in _decoded(file) or []] == [image["filename"] for image in images]
    for old, new in (
        ('"raw": ', '"raw": "earlier", "raw": '),
        ('"split": ', '"split": "val", "split": '),
        (', "cocoid": 101', ""),
        ('"A boat ."', '"\\ud800"'),
        ('"A boat ."', "3"),
        ("]}", "]"),
    ):
        assert text.count(old)
        file.write_text(text.replace(old, new, 1))
        assert _decoded(file) is None


@pytest.mark.parametrize("key", ["filename", "split", "sentences", "raw", "images"])
def test_a_repeated_key_is_refused(tmp_path: Path, key: str) -> None:
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"images": FLICKR}).replace(f'"{key}": ', f'"{key}": "a", "{key}": ', 1))
    with pytest.raises(InputError, match=rf"1 keys are repeated in one object, the first is '{key}'"):
        read_karpathy(file, tmp_path, "train", check_files=False)


def test_a_file_is_decoded_once_for_all_splits_and_again_when_it_changes(
    write: Callable[[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = list[Path]()
    monkeypatch.setattr(karpathy, "_decoded", lambda file: decoded.append(file) or _decoded(file))
    file = write(FLICKR)
    for split, names in (("train", ["0.jpg", "3.jpg"]), ("val", ["1.jpg"]), ("test", ["2.jpg"])):
        images = read_karpathy(file, file.parent, split, check_files=False)
        assert [image.image_id for image in images] == names
    assert decoded == [file]
    write([*FLICKR, entry(4, "val", ["A bird ."])])
    assert [i.image_id for i in read_karpathy(file, file.parent, "val", check_files=False)] == ["1.jpg", "4.jpg"]
    assert decoded == [file, file]
