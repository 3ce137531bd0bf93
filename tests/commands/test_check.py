"""captioning check: what is whole, what is damaged, and what is neither a bundle nor a store nor a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Command = Callable[..., Any]
FIXTURES = Path(__file__).parents[1] / "fixtures"


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of a run's folder, to damage."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def test_a_whole_run_is_checked_part_by_part(command: Command, run: Path) -> None:
    ran = command("check", run)
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith(
        f"{run / 'bundle'}: the weights fit and are finite; all digests match; 3 golden examples"
    )
    assert lines[1] == f"{run}: 5 files of results; their digests match"
    assert len(lines) == 2 + len(list((run / "checkpoints").glob("*.ckpt")))


def test_a_bundle_is_checked_and_its_damage_named(command: Command, run: Path) -> None:
    assert command("check", run / "bundle").status == 0
    flip_last_bit(run / "bundle" / "model.safetensors")
    ran = command("check", run / "bundle")
    assert (ran.status, ran.out) == (1, "")
    assert "model.safetensors" in ran.message


def test_a_damaged_bundle_does_not_hide_the_checkpoints(command: Command, run: Path) -> None:
    flip_last_bit(run / "bundle" / "golden.json")
    ran = command("check", run)
    assert ran.status == 1
    assert "golden.json" in ran.err
    assert len(ran.out.splitlines()) == 1 + len(list((run / "checkpoints").glob("*.ckpt")))


@pytest.mark.parametrize(
    "name", ["metrics.json", "captions.json", "per_image.csv", "statistics.safetensors", "training.json"]
)
def test_a_changed_result_is_named(command: Command, run: Path, name: str) -> None:
    flip_last_bit(run / name)
    ran = command("check", run)
    assert ran.status == 1
    assert f"1 of 5 files are damaged, changed or missing ({name})" in ran.err


def test_results_without_digests_are_those_of_earlier_versions(command: Command, run: Path) -> None:
    (run / "SHA256SUMS").unlink()
    ran = command("check", run)
    assert ran.status == 0
    assert f"{run}: its results have no digests, as earlier versions wrote them" in ran.out


def test_a_damaged_checkpoint_is_named(command: Command, run: Path) -> None:
    path = sorted((run / "checkpoints").glob("*.ckpt"))[0]
    flip_last_bit(path)
    ran = command("check", run)
    assert ran.status == 1
    assert path.name in ran.err


def test_a_feature_store_is_checked(command: Command) -> None:
    ran = command("check", FIXTURES / "cached" / "store")
    assert ran.status == 0, ran.err
    assert len(ran.out.splitlines()) == 2  # train and val
    assert "features of 48 images" in ran.out


def test_what_cannot_be_checked_is_reported_beside_the_rest(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    bundle = FIXTURES / "cached" / "bundle"
    ran = command("check", tmp_path / "empty", tmp_path / "file", tmp_path / "none", bundle)
    assert ran.status == 1
    assert ran.err.count("captioning check: ") == 3
    assert "empty holds no bundle, no feature store and no run's checkpoints" in ran.err
    assert ran.out.startswith(f"{bundle}: ")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five images with a caption each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(5):
        Image.new("RGB", (5, 7), (n, 0, 0)).save(folder / f"{n}.png")
    rows = "".join(f"{n}.png;A dog, running\n" for n in range(5))
    (folder / "captions.csv").write_text(f"bild;caption\n{rows}")
    return folder


def test_a_folder_of_images_is_checked_before_training(command: Command, photos: Path) -> None:
    ran = command("check", photos, "--image-column", "bild")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == (
        f"{photos}: 5 images (train 3, val 1, test 1) with 5 captions of up to 3 words; captions.csv: images in "
        "bild, captions in caption, splits made from data.split_seed=1\n  nothing stops training\n"
    )


def test_what_would_stop_training_is_named_and_gives_status_1(command: Command, photos: Path) -> None:
    (photos / "4.png").unlink()
    ran = command("check", photos, "--image-column", "bild", "--max-length", "2")
    assert (ran.status, ran.err) == (1, "")
    assert "  stops training: images with captions and without a file: 1 (4.png)\n" in ran.out
    assert "  stops training: training captions of more than 2 words" in ran.out
    assert ran.out.endswith("correct what stops training, and check again\n")


def test_a_missing_column_is_reported_with_those_that_there_are(command: Command, photos: Path) -> None:
    assert "no column for the image" in command("check", photos).message
    assert "it has the columns bild, caption" in command("check", photos).message


def test_outcomes_can_be_read_by_programs(command: Command, photos: Path) -> None:
    (photos / "4.png").unlink()
    bundle = FIXTURES / "cached" / "bundle"
    ran = command("check", photos, bundle, "--image-column", "bild", "--json")
    assert ran.status == 1
    data, whole = map(json.loads, ran.out.splitlines())
    assert (data["path"], data["ok"], data["images"]) == (str(photos), False, {"train": 3, "val": 1, "test": 1})
    assert [(finding["count"], finding["examples"]) for finding in data["findings"]] == [(1, ["4.png"])]
    assert (whole["path"], whole["ok"]) == (str(bundle), True)


def test_a_folder_in_coco_s_layout_is_checked_as_one(command: Command, scenes: Path) -> None:
    ran = command("check", scenes)
    assert ran.status == 0, ran.err + ran.out
    assert "in the layout of coco" in ran.out
