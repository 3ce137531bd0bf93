"""Scenes are written completely or not at all, and COCO readers read them."""

import errno
import json
import logging
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

from captioning.data.scenes import generate_scene, write, write_scenes
from captioning.errors import InputError

FEW = {"seed": 3, "num_train": 4, "num_val": 2, "num_test": 3, "size": 32}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "new" / "scenes"
    write_scenes(root, **FEW)
    return root


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_coco_readers_find_images_captions_and_boxes(written: Path, split: str) -> None:
    captions = COCO(written / "annotations" / f"captions_{split}2017.json")
    instances = COCO(written / "annotations" / f"instances_{split}2017.json")
    assert captions.getImgIds() == instances.getImgIds()
    assert len(captions.getImgIds()) == FEW[f"num_{split}"]
    for index, image in enumerate(captions.loadImgs(captions.getImgIds())):
        scene = generate_scene(3, split, index, 32)
        assert image["id"] == scene.image_id
        assert image["file_name"] == f"{scene.image_id:012d}.jpg"
        with Image.open(written / f"{split}2017" / image["file_name"]) as opened:
            assert (opened.format, opened.mode) == ("JPEG", "RGB")
            assert opened.size == (image["width"], image["height"]) == (32, 32)
        annotations = captions.loadAnns(captions.getAnnIds(image["id"]))
        assert tuple(annotation["caption"] for annotation in annotations) == scene.captions
        boxes = instances.loadAnns(instances.getAnnIds(image["id"]))
        for annotation in annotations:
            for mention in annotation["mentions"]:
                [described] = [i for i, box in enumerate(boxes) if box["id"] in mention["instances"]]
                word = annotation["caption"].lower()[mention["begin"] : mention["end"]]
                assert mention["kind"] == ("colour" if word == scene.objects[described].colour else "shape")
        assert sum(len(annotation["mentions"]) for annotation in annotations) >= 20
        names = [category["name"] for category in instances.loadCats([box["category_id"] for box in boxes])]
        assert names == [thing.category for thing in scene.objects]
        for box, thing in zip(boxes, scene.objects, strict=True):
            assert box["bbox"] == pytest.approx([32 * value for value in thing.box], abs=0.006)
            assert box["area"] == pytest.approx(box["bbox"][2] * box["bbox"][3], rel=0.01)
            assert box["iscrowd"] == 0


def test_ids_are_unique_over_splits(written: Path) -> None:
    for kind, in_images in (("captions", False), ("instances", False), ("captions", True)):
        ids = [
            entry["id"]
            for split in ("train", "val", "test")
            for entry in json.loads((written / "annotations" / f"{kind}_{split}2017.json").read_text())[
                "images" if in_images else "annotations"
            ]
        ]
        assert len(set(ids)) == len(ids) > 0


def test_the_same_settings_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path, **FEW)
    assert files(tmp_path) == files(written)


def test_any_number_of_processes_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", **FEW, workers=2)
    assert files(tmp_path / "scenes") == files(written)


def test_a_longer_split_begins_with_the_same_scenes(written: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path, **FEW | {"num_train": 5})
    short, long = files(written), files(tmp_path)
    images = {name for name in short if name.endswith(".jpg")}
    assert len(images) == 9
    assert {name: long[name] for name in images} == {name: short[name] for name in images}


def test_a_second_call_does_nothing(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "generate_scene", None)
    write_scenes(written, **FEW)


def test_a_folder_of_the_version_before_mentions_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scenes.json").write_text(json.dumps({**FEW, "format": 1}))
    with caplog.at_level(logging.INFO):
        write_scenes(tmp_path, **FEW)
    assert "earlier version, without mentions; delete the folder to write them anew" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["scenes.json"]
    with pytest.raises(InputError, match="expected scenes with"):
        write_scenes(tmp_path, **FEW | {"seed": 4})


def test_a_folder_with_other_settings_is_refused_and_unchanged(written: Path) -> None:
    before = files(written)
    with pytest.raises(InputError, match=r'expected scenes with .*"seed": 4.* found .*.seed.: 3.* give another'):
        write_scenes(written, **FEW | {"seed": 4})
    assert files(written) == before


@pytest.mark.parametrize("content", ["{", None])
def test_a_folder_with_other_files_is_refused_and_unchanged(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    if content is not None:
        (tmp_path / "scenes.json").write_text(content)
    before = files(tmp_path)
    with pytest.raises(InputError, match="give another folder"):
        write_scenes(tmp_path, **FEW)
    assert files(tmp_path) == before


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scenes").write_text("mine")
    with pytest.raises(InputError, match=r"no readable scenes\.json"):
        write_scenes(tmp_path / "scenes", **FEW)
    with pytest.raises(InputError, match=r"cannot be written: (Not a directory|File exists); free"):
        write_scenes(tmp_path / "scenes" / "below", **FEW)


@pytest.mark.parametrize(
    ("failure", "raised", "message"),
    [
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
        (OSError(errno.ENOSPC, "No space left on device"), InputError, "No space left on device.*; free some"),
    ],
)
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    raised: type[BaseException],
    message: str,
) -> None:
    save, saved = Image.Image.save, []

    def fail_at_the_last(image: Image.Image, path: Path, **options: int) -> None:
        if len(saved) == 8:
            raise failure
        saved.append(path)
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", fail_at_the_last)
    with pytest.raises(raised, match=message):
        write_scenes(tmp_path / "scenes", **FEW)
    assert len(saved) == 8
    assert list(tmp_path.iterdir()) == []


def test_two_concurrent_runs_give_one_data_set(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def another_run_is_faster(*arguments: object) -> None:
        monkeypatch.undo()
        write_scenes(tmp_path / "scenes", **FEW)
        write._write_all(*arguments)

    monkeypatch.setattr(write, "_write_all", another_run_is_faster)
    write_scenes(tmp_path / "scenes", **FEW)
    assert files(tmp_path / "scenes") == files(written)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"seed": -1}, "seed must be at least 0, found -1"),
        ({"num_val": 0}, "num_val must be from 1 to 1000000, found 0"),
        ({"size": 4096}, "size must be from 32 to 1024, found 4096"),
    ],
)
def test_a_setting_out_of_range_is_refused(tmp_path: Path, setting: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_scenes(tmp_path / "scenes", **FEW | setting)
    assert not (tmp_path / "scenes").exists()
