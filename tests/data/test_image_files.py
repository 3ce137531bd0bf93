"""Image files are found, and what is left out is counted; missing and broken files are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captioning.data.image_files import FoundImages, find_images, images_below, missing_files, require_files
from captioning.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Empty files, since none is opened, and a folder that has an image's name."""
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    (tmp_path / "folder.jpg").mkdir()
    for name in ("b.jpg", "A.PNG", "c[1].jpg", "notes.txt", ".hidden.jpg", "below/d.webp", "below/deeper/e.webp"):
        (tmp_path / name).touch()
    return tmp_path


def test_folder_gives_its_own_images_sorted(folder: Path) -> None:
    found = find_images([folder])
    assert (found.paths, found.problems) == ([folder / "A.PNG", folder / "b.jpg", folder / "c[1].jpg"], [])


def test_named_file_may_have_any_suffix(folder: Path) -> None:
    named = [folder / "notes.txt", folder / ".hidden.jpg", folder / "c[1].jpg"]
    assert find_images(named) == FoundImages(named, [], [])


def test_patterns_give_images_sorted(folder: Path) -> None:
    assert find_images([f"{folder}/*"]).paths == [folder / "A.PNG", folder / "b.jpg", folder / "c[1].jpg"]
    assert find_images([f"{folder}/?.jpg"]).paths == [folder / "b.jpg"]
    deep = [folder / "below" / "d.webp", folder / "below" / "deeper" / "e.webp"]
    assert find_images([f"{folder}/**/*.webp"]).paths == deep


def test_arguments_keep_their_order_and_no_path_comes_twice(folder: Path) -> None:
    found = find_images([folder / "below", folder / "b.jpg", str(folder / "*.jpg")])
    assert found.paths == [folder / "below" / "d.webp", folder / "b.jpg", folder / "c[1].jpg"]
    assert found.problems == []


def test_relative_arguments_stay_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert find_images(["b.jpg", "below", "*.PNG"]).paths == [Path("b.jpg"), Path("below/d.webp"), Path("A.PNG")]


def test_arguments_without_images_are_reported_and_the_others_are_found(folder: Path) -> None:
    found = find_images([folder / "none.jpg", folder / "b.jpg", f"{folder}/*.gif", folder / "folder.jpg"])
    assert found.paths == [folder / "b.jpg"]
    assert found.problems == [
        f"{folder}/none.jpg: no such file or folder",
        f"{folder}/*.gif: no image matches this pattern",
        f"{folder}/folder.jpg: no image in this folder; for images in subfolders give '{folder}/folder.jpg/**/*.jpg'",
    ]


def test_missing_files_are_found_over_several_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [folder / "b.jpg", folder / "below" / "d.webp"]
    lacking = [folder / "x.jpg", folder / "below" / "b.jpg", folder / "nowhere" / "b.jpg"]
    assert missing_files([*lacking, *there]) == lacking
    monkeypatch.chdir(folder)
    assert missing_files([Path("b.jpg"), Path("x.jpg")]) == [Path("x.jpg")]


def test_required_files_are_counted_and_the_first_three_named(folder: Path) -> None:
    require_files([folder / "b.jpg"], folder / "notes.txt")
    paths = [folder / f"{i}.jpg" for i in range(5)] + [folder / "b.jpg"]
    with pytest.raises(
        InputError,
        match=r"notes\.txt names 6 images, of which 5 have no file: .*0\.jpg, .*1\.jpg, .*2\.jpg, .*data\.features=DIR",
    ):
        require_files(paths, folder / "notes.txt")


def test_what_a_folder_holds_besides_images_is_counted(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "b.HEIC").touch()
    found = find_images([folder])
    assert folder / "b.HEIC" in found.paths
    assert found.skipped == [
        f"{folder}: skipped 1 broken links, 1 hidden images, 1 other files, 1 pipes, sockets or devices, 2 subfolders"
    ]
    assert find_images([folder / "below" / "deeper"]).skipped == []
    assert find_images([f"{folder}/**/*.webp"]).skipped == []
    assert find_images([f"{folder}/p*"]).problems == [f"{folder}/p*: no image matches this pattern"]
    assert find_images([f"{folder}/p*"]).skipped == [f"{folder}/p*: skipped 1 pipes, sockets or devices"]


def test_a_pipe_or_folder_in_place_of_an_image_is_missing(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "link.jpg").symlink_to(folder / "b.jpg")
    paths = [folder / name for name in ("pipe.jpg", "folder.jpg", "link.jpg")]
    assert missing_files(paths) == paths[:2]


def test_names_in_messages_stay_one_line_and_command_no_terminal(tmp_path: Path) -> None:
    name = "a\x1b2J\nb.jpg"
    assert find_images([tmp_path / name]).problems == [f"{tmp_path}/a\\x1b2J\\nb.jpg: no such file or folder"]
    with pytest.raises(InputError, match=r"a\\x1b2J\\nb\.jpg"):
        require_files([tmp_path / name], tmp_path / "list")


def test_a_name_of_any_length_is_a_problem_of_its_own(folder: Path) -> None:
    found = find_images(["x" * 100_000, folder / "b.jpg"])
    assert found.paths == [folder / "b.jpg"]
    assert len(found.problems) == 1
    assert len(found.problems[0]) < 300


def test_images_below_a_folder_are_those_of_all_subfolders_once(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/c.PNG", "a/d/e.webp", "a/notes.txt", ".hidden.jpg", ".cache/f.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert images_below(tmp_path) == ["a/c.PNG", "a/d/e.webp", "b.jpg"]
    assert images_below(tmp_path / "none") == []
