"""Captions are matched to images by ids, file names and stems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.metrics.files import read_references
from captioning.metrics.image_names import match_ids

NAMED = {
    "images": [{"id": 139, "file_name": "000000000139.jpg"}, {"id": 285, "file_name": "val/000000000285.jpg"}],
    "annotations": [{"image_id": 139, "caption": "a dog"}, {"image_id": 285, "caption": "a cat"}],
}


@pytest.mark.parametrize(
    "content", [NAMED, {**NAMED, "images": [{"id": 139}, {"id": 285}]}, {"139": ["a"], "285": ["a"]}]
)
@pytest.mark.parametrize("name", ["{}", "{:012}", "{:012}.jpg", "photos/{:012}.png", "C:\\photos\\{}.JPG"])
def test_files_and_stems_are_matched_to_ids(tmp_path: Path, content: object, name: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(content))
    results = {name.format(139): "a dog", name.format(285): "a cat"}
    assert match_ids(path, read_references(path), results) == {139: "a dog", 285: "a cat"}


@pytest.mark.parametrize("name", ["a.jpg", "a", "x/a.jpg", "x/a"])
def test_ids_and_stems_are_matched_to_files(name: str) -> None:
    assert match_ids("none", {"a.jpg": ["a"], 3: ["b"]}, {name: "a dog", 3: "a cat"}) == {"a.jpg": "a dog", 3: "a cat"}


@pytest.mark.parametrize(
    ("references", "results", "message"),
    [
        (["x/a.jpg", "y/a.jpg"], ["a.jpg"], r"1 \('a.jpg'\) fits several images of the references: 2 "),
        (["a.jpg"], ["x/a.jpg", "y/a.jpg"], r"two captions of the image 1 \('a.jpg'\): 2 \('x/a.jpg', 'y/a.jpg'\)"),
        (["a.jpg"], ["a.jpg", "a"], r"two captions of the image"),
    ],
)
def test_names_that_fit_more_than_one_image_are_refused(
    references: list[str], results: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        match_ids("none", {name: ["a"] for name in references}, dict.fromkeys(results, "a"))


def test_a_name_that_fits_no_image_stays() -> None:
    assert match_ids("none", {"a.jpg": ["a"]}, {"b.jpg": "a"}) == {"b.jpg": "a"}
    assert match_ids("none", {"x/a.jpg": ["a"], "y/a.jpg": ["a"]}, {"x/a.jpg": "b", "z": "c"}) == {
        "x/a.jpg": "b",
        "z": "c",
    }
