"""A survey finds before training what would stop it, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from captioning.data.readers import Flickr8k, Folder
from captioning.data.survey import Survey, survey_folder, survey_reader

HEADER = "image,caption,split\n"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images: two for training, one for validation and one for test."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(4):
        Image.new("RGB", (5, 7), (n, 0, 0)).save(folder / f"{n}.png")
    write(folder, "0.png,A dog,train\n1.png,A cat,train\n2.png,A cow,val\n3.png,A red boat,test\n")
    return folder


def write(folder: Path, rows: str) -> None:
    (folder / "captions.csv").write_text(HEADER + rows)


def found(survey: Survey) -> dict[str, tuple[int, bool]]:
    """The number of each finding, by the first word that tells it, and whether it stops training."""
    return {finding.what: (len(finding.examples), finding.stops) for finding in survey.findings}


def survey(folder: Path, max_length: int = 5) -> Survey:
    return survey_folder(Folder(str(folder)), max_length=max_length)


def test_a_whole_folder_has_no_faults(photos: Path) -> None:
    whole = survey(photos)
    assert (whole.images, whole.num_captions, whole.longest) == ({"train": 2, "val": 1, "test": 1}, 4, 3)
    assert whole.trains and not whole.findings
    assert str(whole).endswith("nothing stops training")


def test_missing_and_broken_images_stop_training(photos: Path) -> None:
    (photos / "0.png").unlink()
    (photos / "1.png").write_bytes(b"no image")
    (photos / "3.png").write_bytes(b"")
    faults = survey(photos)
    assert found(faults) == {
        "images with captions and without a file": (1, True),
        "images that cannot be read": (2, True),
    }
    assert not faults.trains
    assert "without a file: 1 (0.png)" in str(faults) and "the file is empty" in str(faults)


def test_copies_empty_captions_and_bare_images_are_notes(photos: Path) -> None:
    (photos / "1.png").write_bytes((photos / "0.png").read_bytes())
    (photos / "3.png").write_bytes((photos / "2.png").read_bytes())
    Image.new("RGB", (5, 7), (9, 0, 0)).save(photos / "bare.png")
    with (photos / "captions.csv").open("a") as file:
        file.write("0.png,,train\n")
    faults = survey(photos)
    assert faults.trains
    assert found(faults) == {
        "images without captions, which are left out": (1, False),
        "empty captions, which are left out": (1, False),
        "identical images within one split": (1, False),
        "identical images in several splits, so that scores will be too high": (1, False),
    }
    assert "2.png (val) = 3.png (test)" in str(faults)


@pytest.mark.parametrize(("num_short", "stops"), [(8, True), (9, False)])
def test_captions_are_too_long_if_training_would_refuse_them(photos: Path, num_short: int, stops: bool) -> None:
    long = "0.png,one two three four five six,train\n"
    write(photos, long + "1.png,A cat,train\n" * num_short + "2.png,one two three four five six seven,val\n")
    faults = survey(photos)
    what = "training captions of more than 5 words, which are truncated (data.max_length)"
    assert found(faults)[what] == (1, stops)
    assert faults.longest == 7


def test_a_split_that_training_needs_must_have_images(photos: Path) -> None:
    write(photos, "0.png,A dog,train\n3.png,A boat,test\n")
    faults = survey(photos)
    assert found(faults)["splits without images that training needs"] == (1, True)
    assert "(val)" in str(faults)


def test_a_layout_without_a_test_split_can_be_trained_on(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    for n, split in enumerate(("train", "dev")):
        Image.new("RGB", (5, 7), (99 * n, 0, 0)).save(tmp_path / "Images" / f"{n}.jpg")
        (tmp_path / f"Flickr_8k.{split}Images.txt").write_text(f"{n}.jpg")
    (tmp_path / "Flickr8k.token.txt").write_text("0.jpg#0\tA dog\n1.jpg#0\tA cat\n")
    faults = survey_reader(Flickr8k(str(tmp_path)), tmp_path, max_length=5)
    assert faults.trains
    assert found(faults) == {"splits that cannot be read and that training does not need": (1, False)}
