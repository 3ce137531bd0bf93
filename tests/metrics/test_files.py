from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from captioning.errors import InputError
from captioning.metrics.files import find_images, read_references, read_results, subset

COCO = {
    "images": [{"id": 7}, {"id": 3}],
    "annotations": [
        {"image_id": 3, "id": 1, "caption": "a dog"},
        {"image_id": 7, "id": 2, "caption": "a cat"},
        {"image_id": 3, "id": 3, "caption": "the dog"},
    ],
}
KARPATHY = {
    "images": [
        {"filename": "b.jpg", "split": "test", "sentences": [{"raw": "a dog", "tokens": ["a", "dog"]}]},
        {"filename": "a.jpg", "split": "val", "sentences": [{"raw": "a cat"}, {"raw": "the cat"}]},
    ]
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "file.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "split", "expected"),
    [
        (COCO, None, {7: ["a cat"], 3: ["a dog", "the dog"]}),
        ({"annotations": COCO["annotations"]}, None, {3: ["a dog", "the dog"], 7: ["a cat"]}),
        (KARPATHY, "val", {"a.jpg": ["a cat", "the cat"]}),
        ({"images": KARPATHY["images"][:1]}, None, {"b.jpg": ["a dog"]}),
        ({"images": [{**KARPATHY["images"][0], "cocoid": 9}]}, "test", {9: ["a dog"]}),
        ({"12": ["a dog"], "x.jpg": ["a cat", ""], "007": ["b"], "-0": ["c"]}, None,
         {12: ["a dog"], "x.jpg": ["a cat", ""], "007": ["b"], "-0": ["c"]}),
    ],
)  # fmt: skip
def test_references_are_read_in_each_form_in_the_file_s_order(
    tmp_path: Path, content: Any, split: str | None, expected: dict[int | str, list[str]]
) -> None:
    found = read_references(write(tmp_path, content), split)
    assert list(found.items()) == list(expected.items())


@pytest.mark.parametrize(
    ("content", "split", "message"),
    [
        ("{", None, "file.json:1: broken JSON"),
        ([], None, "found a list. The references come first"),
        ({}, None, "expected captions of at least one image"),
        ({"images": [], "annotations": []}, None, "expected captions of at least one image"),
        ({"images": [{"id": 7}], "annotations": []}, None, r"images without a caption: 1 \(7\)"),
        ({"annotations": [{"image_id": None, "caption": "a"}]}, None, r"annotations\[0\]: .*found None"),
        ({"annotations": [{"image_id": 1}]}, None, r"annotations\[0\]: expected 'caption' of type str, found none"),
        (KARPATHY, None, r"the name of a split \(test, val\)"),
        (KARPATHY, "train", r"no image of split train; images by split: \{'test': 1, 'val': 1\}"),
        ({"images": [KARPATHY["images"][0]] * 2}, None, r"occur twice: 1 \('b.jpg'\)"),
        (COCO, "val", "only Karpathy's JSON has splits"),
        ({"1": "a dog"}, None, r"a list of strings for each image id; not so for 1 \('1'\)"),
        ({"1": [2]}, None, r"not so for 1 \('1'\)"),
        ({"1": []}, None, r"images without a caption: 1 \(1\)"),
        ('{"1": ["a"], "1": ["b"]}', None, "1 keys are repeated in one object, the first is '1'"),
    ],
)  # fmt: skip
def test_references_of_another_form_are_refused_with_the_position(
    tmp_path: Path, content: Any, split: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_references(write(tmp_path, content), split)


@pytest.mark.parametrize(
    "content",
    [
        [{"image_id": 7, "caption": "a cat"}, {"image_id": "3", "caption": "", "log_probability": -2.5}],
        {"7": "a cat", "3": ""},
    ],
)
def test_results_are_read_in_both_forms(tmp_path: Path, content: Any) -> None:
    assert list(read_results(write(tmp_path, content)).items()) == [(7, "a cat"), (3, "")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("3", "found 3. The references come first"),
        ("{}", "found {}"),
        (COCO, "found references"),
        ([{"image_id": 7}], r"expected 'caption' of type str, found none"),
        (
            [{"image_id": 1.5, "caption": "a"}],
            r"results\[0\]: expected 'image_id', a whole number.*found 1.5",
        ),
        ([{"image_id": True, "caption": "a"}], "found True"),
        (
            [{"image_id": i, "caption": "a"} for i in (7, 8, 8, 7, "7")],
            r"images with two captions: 2 \(7, 8\); keep one of each",
        ),
        ({"7": ["a cat"]}, r"one string as the caption of each image; not so for 1 \(7\)"),
    ],
)
def test_results_of_another_form_and_repeated_images_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_results(write(tmp_path, content))


@pytest.mark.parametrize("name", ["test.en", "test.txt", "test.en.gz"])
def test_lines_of_text_are_captions_by_their_number(tmp_path: Path, name: str) -> None:
    content = "A dog.\n\nTwo\u2028cats.\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_results(tmp_path / name) == {1: "A dog.", 2: "", 3: "Two\u2028cats."}
    assert read_references(tmp_path / name) == {1: ["A dog."], 2: [""], 3: ["Two\u2028cats."]}
    with pytest.raises(InputError, match="only Karpathy's JSON has splits"):
        read_references(tmp_path / name, "val")


def test_a_file_without_a_suffix_is_json_as_a_pipe_is(tmp_path: Path) -> None:
    (tmp_path / "63").write_text('{"1": "a dog"}')
    assert read_results(tmp_path / "63") == {1: "a dog"}


def test_images_of_lines_are_found_by_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "test.en").write_text("A dog.\nA cat.\n")
    (tmp_path / "2.jpg").touch()
    assert find_images(tmp_path / "test.en", tmp_path, [2]) == [tmp_path / "2.jpg"]


def test_an_empty_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.en").write_text("")
    with pytest.raises(InputError, match="expected a caption in each line; the file is empty"):
        read_results(tmp_path / "test.en")


def test_a_missing_file_is_reported() -> None:
    with pytest.raises(InputError, match=r"nowhere.json: cannot be read"):
        read_results("nowhere.json")


def test_a_subset_has_the_images_with_captions_in_the_references_order() -> None:
    references = {1: ["a"], 2: ["b"], 3: ["c"]}
    assert list(subset(references, {3: "x", 1: "y"}).items()) == [(1, ["a"]), (3, ["c"])]
    with pytest.raises(InputError, match=r"captions without references: 1 \(4\)"):
        subset(references, {4: "x"})


NAMED = {**COCO, "images": [{"id": 7, "file_name": "000007.jpg"}, {"id": 3, "file_name": "000003.jpg"}]}
OF_COCO = {"images": [{**KARPATHY["images"][0], "cocoid": 9, "filepath": "val2014"}]}


@pytest.mark.parametrize(
    ("content", "image_ids", "files"),
    [
        (NAMED, [3, 7], ["000003.jpg", "000007.jpg"]),
        ({"annotations": COCO["annotations"]}, [3, 7], ["3.png", "7.jpg"]),
        (KARPATHY, ["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
        (OF_COCO, [9], ["val2014/b.jpg"]),
        (OF_COCO, [9], ["b.jpg"]),  # the folder named is val2014 itself
        ({"12": ["a"], "x.gif": ["b"], "y": ["c"]}, ["x.gif", 12, "y"], ["x.gif", "12.jpg", "y.png"]),
    ],
)
def test_images_are_found_by_the_names_in_the_references_or_by_their_ids(
    tmp_path: Path, content: Any, image_ids: list[int | str], files: list[str]
) -> None:
    expected = [tmp_path / "images" / name for name in files]
    for path in expected:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_images(write(tmp_path, content), tmp_path / "images", image_ids) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (NAMED, r"those without one: 1 \(7\); the first was looked for as 000007.jpg$"),
        (COCO, r"file.json: images\[0\]: expected 'file_name' of type str, found none"),
        ({"3": ["a"], "7": ["b"]}, r"of 2 images those without one: 1 \(7\); .*looked for as 7 and 7.jpg and 7.png$"),
    ],
)
def test_missing_images_are_listed(tmp_path: Path, content: Any, message: str) -> None:
    for name in ("000003.jpg", "3.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=message):
        find_images(write(tmp_path, content), tmp_path, [3, 7])


def test_a_missing_folder_of_images_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder of images; of 1 images"):
        find_images(write(tmp_path, NAMED), tmp_path / "nowhere", [3])


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg"])
def test_a_file_outside_the_folder_of_images_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "secret.jpg").touch()
    for content in ({**NAMED, "images": [{"id": 7, "file_name": name}, {"id": 3, "file_name": "3.jpg"}]},):
        with pytest.raises(InputError, match=r"inside the folder of images; not so for 1 \(7\)"):
            find_images(write(tmp_path, content), tmp_path / "images", [3, 7])
    with pytest.raises(InputError, match="inside the folder of images; not so for 1"):
        find_images(write(tmp_path, {name: ["a"]}), tmp_path / "images", [name])
