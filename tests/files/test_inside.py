"""A name in an annotation file cannot leave the folder of the images."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.files.inside import inside


@pytest.mark.parametrize(
    "name", ["a.jpg", "val2014/a.jpg", "./a.jpg", "val2014/../a.jpg", "..a.jpg", "a..jpg", "ä b.jpg"]
)
def test_names_inside_are_joined(tmp_path: Path, name: str) -> None:
    path = inside(tmp_path, name, "captions.json")
    assert path.resolve() == (tmp_path / name).resolve()
    assert ".." not in path.parts


@pytest.mark.parametrize(
    "name", ["../a.jpg", "..", "val2014/../../a.jpg", "/etc/passwd", "//etc/passwd", "C:\\a.jpg", "a\0.jpg", "/"]
)
def test_names_outside_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"captions\.json names .* not inside"):
        inside(tmp_path, name, "captions.json")


def test_two_dots_after_a_link_do_not_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    assert inside(tmp_path / "root", "link/../a.jpg", "x") == tmp_path / "root" / "a.jpg"


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.jpg").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "Images").symlink_to(tmp_path / "disk")
    assert inside(tmp_path / "root", "Images/a.jpg", "x").is_file()
