"""A folder of one's own images: what is read, what is left out with a count, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image

from captioning.data.readers.folder import Folder
from captioning.errors import InputError

CSV = "image,caption\n" + "".join(f"{n}.png,Image number {n}\n{n}.png,The number {n}\n" for n in range(10))


def draw(file: Path, shade: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 7), (shade, 0, 0)).save(file)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten images, of which half are in a subfolder, with two captions each."""
    folder = tmp_path / "photos"
    for n in range(10):
        draw(folder / ("more" if n % 2 else "") / f"{n}.png", n)
    (folder / "captions.csv").write_text(CSV)
    return folder


def test_every_image_with_a_caption_is_in_one_split(photos: Path) -> None:
    reader = Folder(str(photos))
    splits = {split: reader.read(split) for split in ("train", "val", "test")}
    assert [len(images) for images in splits.values()] == [6, 2, 2]
    images = {image.image_id: image for own in splits.values() for image in own}
    assert len(images) == 10
    assert images["more/3.png"].captions == ("Image number 3", "The number 3")
    assert images["more/3.png"].path == photos / "more" / "3.png"
    assert reader.name == "photos"


def test_a_text_file_beside_each_image_holds_its_captions(photos: Path) -> None:
    (photos / "captions.csv").unlink()
    (photos / "0.txt").write_bytes(b"\xef\xbb\xbfOne\r\n\r\n Two \r\n")
    (photos / "more" / "1.txt").write_text("Three")
    (photos / "2.txt").write_text("Four")
    (photos / "4.txt").write_text(" \n")
    contents = Folder(str(photos)).contents
    assert contents.captions == {"0.png": ("One", "Two"), "2.png": ("Four",), "more/1.png": ("Three",)}
    assert contents.empty == ["4.txt"]
    assert contents.without_captions == ["4.png", "6.png", "8.png", *(f"more/{n}.png" for n in (3, 5, 7, 9))]


def test_whatever_is_left_out_is_counted(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw(photos / "bare.png", 99)
    draw(photos / ".hidden.png", 98)
    (photos / "captions.csv").write_text(CSV.replace("0.png,The number 0", "0.png, ") + "lost.png,A lost image\n")
    reader = Folder(str(photos), skip_missing=True)
    with caplog.at_level(logging.INFO):
        read = [image.image_id for split in ("train", "val", "test") for image in reader.read(split)]
    assert len(read) == 10 and "lost.png" not in read
    assert "1 images without captions are left out: bare.png" in caplog.text
    assert "1 captions are empty and are left out: captions.csv:3" in caplog.text
    assert "1 images without a file are left out: lost.png" in caplog.text
    assert caplog.text.count("images without captions") == 1


def test_captions_of_missing_files_are_refused_unless_the_features_are_cached(photos: Path) -> None:
    (photos / "0.png").unlink()
    reader = Folder(str(photos))
    with pytest.raises(InputError, match=r"captions\.csv names 10 images, of which 1 have no file in .*: 0\.png; add"):
        reader.read("train")
    assert sum(len(reader.read(split, check_files=False)) for split in ("train", "val", "test")) == 10


def test_splits_made_from_a_seed_keep_identical_images_together(photos: Path) -> None:
    for seed in range(5):
        for n in range(6):
            draw(photos / ("more" if n % 2 else "") / f"{n}.png", n // 2)
        splits = Folder(str(photos), split_seed=seed).contents.splits
        assert all(splits[f"{n}.png"] == splits[f"more/{n + 1}.png"] for n in (0, 2, 4))


def test_splits_of_a_column_are_used_and_identical_images_between_them_reported(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draw(photos / "2.png", 0)
    (photos / "captions.csv").write_text(
        "image,caption,split\n0.png,a,train\n2.png,b,validation\n4.png,c,Train\n0.png,d,train\n"
    )
    reader = Folder(str(photos))
    assert [image.image_id for image in reader.read("train")] == ["0.png", "4.png"]
    assert "identical images are in different splits: 0.png, 2.png" in caplog.text
    with pytest.raises(InputError, match=r"no images in the split test; it has 2 in train, 1 in val; add some"):
        reader.read("test")


def test_lists_are_used_and_images_outside_them_counted(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / "train.txt").write_text("0.png\n1.png\n")
    (photos / "val.txt").write_text("2\n")
    assert [image.image_id for image in Folder(str(photos)).read("train")] == ["0.png", "more/1.png"]
    assert "7 images are in no list of a split and are left out" in caplog.text


@pytest.mark.parametrize("name", ["captions.txt", "labels.json", "data.jsonl", "a.tsv"])
def test_the_only_file_of_captions_is_found_whatever_its_name(photos: Path, name: str) -> None:
    (photos / "captions.csv").unlink()
    contents = {"captions.txt": CSV, "labels.json": '{"0.png": "x", "2.png": ["x"], "4.png": "x"}'}
    contents |= {"data.jsonl": '{"image": "0.png", "text": ["a"]}\n' * 3, "a.tsv": CSV.replace(",", "\t")}
    (photos / name).write_text(contents[name])
    (photos / "notes.txt").write_text("not captions")
    reader = Folder(str(photos), val_share=0.4)
    if name == "data.jsonl":
        with pytest.raises(InputError, match="1 different images with captions are too few"):
            _ = reader.contents
    else:
        assert reader.contents.source == photos / name


def test_a_file_of_captions_may_be_named_and_lie_elsewhere(photos: Path, tmp_path: Path) -> None:
    (photos / "other.json").write_text("{}")
    with pytest.raises(InputError, match=r"2 files that may hold the captions: captions\.csv, other\.json; name one"):
        _ = Folder(str(photos)).contents
    assert Folder(str(photos), captions="captions.csv").contents.num_images == 10
    moved = (photos / "captions.csv").rename(tmp_path / "elsewhere.csv")
    assert Folder(str(photos), captions=str(moved)).contents.source == moved
    with pytest.raises(InputError, match=r"data.captions=none\.csv: no such file, here or in"):
        _ = Folder(str(photos), captions="none.csv").contents


def test_bad_folders_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; expected a folder of images"):
        Folder(str(tmp_path / "none")).read("train")
    with pytest.raises(InputError, match="is a file; expected a folder of images"):
        Folder(str(photos / "captions.csv")).read("train")
    (photos / "captions.csv").unlink()
    with pytest.raises(InputError, match=r"has 10 images and no captions; expected one file such as captions\.csv"):
        Folder(str(photos)).read("train")
    (photos / "captions.csv").write_text("image,caption\n../0.png,A dog\n")
    with pytest.raises(InputError, match=r"captions\.csv:2 names '\.\./0\.png', which is not inside"):
        Folder(str(photos)).read("train")
    (photos / "captions.csv").write_text("image,caption,split\n0.png,A dog,train\n")
    (photos / "train.txt").write_text("0.png")
    with pytest.raises(InputError, match=r"has lists of splits \(train\), and its captions a column of splits; remove"):
        Folder(str(photos)).read("train")


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.1), (0.5, 0.5), (0.1, -0.1), (float("nan"), 0.1)])
def test_shares_must_leave_images_for_training_and_validation(val: float, test: float) -> None:
    with pytest.raises(InputError, match="expected a share above 0 for val"):
        Folder("photos", val_share=val, test_share=test)
