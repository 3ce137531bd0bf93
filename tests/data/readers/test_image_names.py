"""Names of images as people write them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.data.readers.image_names import ImageNames, stem
from captioning.errors import InputError

IMAGES = ["cats/1.jpg", "cats/2.JPG", "dogs/1.jpg", "dogs/café.png", "3.jpeg"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("cats/1.jpg", "cats/1.jpg"),
        ("./cats//1.jpg", "cats/1.jpg"),
        ("cats/2.jpg", "cats/2.JPG"),
        ("2.jpg", "cats/2.JPG"),
        ("2", "cats/2.JPG"),
        ("3", "3.jpeg"),
        ("photos/3.jpeg", "3.jpeg"),
        ("my/photos/cats/1.jpg", "cats/1.jpg"),
        ("cats\\1.jpg", "cats/1.jpg"),
        (unicodedata.normalize("NFD", "dogs/café.png"), "dogs/café.png"),
    ],
)
def test_an_image_is_found_however_its_name_is_written(tmp_path: Path, given: str, found: str) -> None:
    assert ImageNames(tmp_path / "my" / "photos", IMAGES).find(given, "a.csv:2") == found


@pytest.mark.parametrize("given", ["4.jpg", "birds/1.jpg", "birds/3.jpeg", "other/3.jpeg"])
def test_another_folder_s_image_is_not_taken_for_it(tmp_path: Path, given: str) -> None:
    names = ImageNames(tmp_path / "photos", IMAGES)
    assert names.find(given, "a.csv:2") == given
    assert given not in names


def test_a_name_of_several_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.csv:2: 1\.jpg may be any of cats/1\.jpg, dogs/1\.jpg; give its path"):
        ImageNames(tmp_path, IMAGES).find("1.jpg", "a.csv:2")


@pytest.mark.parametrize("given", ["../1.jpg", "/etc/1.jpg", "cats/../../1.jpg", "..\\1.jpg", "C:\\1.jpg"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(InputError, match=r"a\.csv:2 names .* which is not inside"):
        ImageNames(tmp_path, IMAGES).find(given, "a.csv:2")


NAMES = st.from_regex(r"([a-c]/){0,2}[a-d]{1,2}\.(jpg|JPG|png)", fullmatch=True)


@given(st.lists(NAMES, unique=True, min_size=1))
def test_a_whole_path_always_means_its_own_image(names: list[str]) -> None:
    found = ImageNames(Path("photos"), names)
    assert [found.find(name, "") for name in names] == names == list(found)


@given(st.lists(NAMES, unique=True, min_size=1))
def test_a_name_without_folder_or_suffix_means_the_only_such_image(names: list[str]) -> None:
    found = ImageNames(Path("photos"), names)
    for name in names:
        bare = stem(name.rpartition("/")[2])
        alike = [other for other in names if stem(other.rpartition("/")[2]) == bare]
        if len(alike) == 1:
            assert found.find(bare, "") == name
