"""scripts/quickstart: its commands fit each other. They are recorded here, not run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig
from PIL import Image

from captioning.commands._overrides import check_overrides, read_arguments

SCRIPTS = Path(__file__).parents[1] / "scripts"
RECORD = 'root="$PWD"; captioning() { printf "%s\\0" "$@" >> calls; printf "\\n" >> calls; }\n'


@pytest.fixture
def flickr8k(tmp_path: Path) -> Path:
    """The official layout: one image a split, in a folder that is not the mirror's."""
    root = tmp_path / "flickr 8k"
    (root / "Flicker8k_Dataset").mkdir(parents=True)
    (root / "Flickr8k.token.txt").write_text("".join(f"{split}.jpg#0\tA dog .\n" for split in ("train", "dev", "test")))
    for split in ("train", "dev", "test"):
        (root / f"Flickr_8k.{split}Images.txt").write_text(f"{split}.jpg\n")
        Image.new("RGB", (8, 8)).save(root / "Flicker8k_Dataset" / f"{split}.jpg")
    return root


def calls(folder: Path, *arguments: str) -> list[list[str]]:
    """The commands of a quickstart in `folder`, each with its arguments."""
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(SCRIPTS / "quickstart", folder / "scripts")
    (folder / "scripts" / "environment.sh").write_text(RECORD)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(SCRIPTS.parent)}
    subprocess.run(["bash", "scripts/quickstart", *arguments], cwd=folder, env=environment, check=True)
    return [line.removesuffix("\0").split("\0") for line in (folder / "calls").read_text().splitlines()]


def composed(call: list[str]) -> DictConfig:
    return check_overrides(read_arguments(call[0], call[1:]))


def test_flickr8k_s_features_are_of_the_encoder_that_is_trained_with(flickr8k: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.touch()
    extract, train, *_ = calls(tmp_path / "run", "--data", str(flickr8k), "--weights", str(weights))
    assert composed(extract).encoder == composed(train).encoder
    assert composed(train).encoder.weights == str(weights)
    assert composed(extract).features == composed(train).data.features
    assert composed(extract).data.root == composed(train).data.root == str(flickr8k)


@pytest.mark.parametrize("split", ["test", "val"])
def test_flickr8k_is_scored_and_captioned_on_test_where_there_is_its_list(
    flickr8k: Path, tmp_path: Path, split: str
) -> None:
    if split == "val":
        (flickr8k / "Flickr_8k.testImages.txt").unlink()
    *_, train, evaluate, caption = calls(tmp_path / "run", "--data", str(flickr8k))
    assert composed(evaluate).data.split == split
    assert composed(evaluate).bundle == f"{composed(train).output}/bundle"
    assert caption[-2:] == ["--model", composed(train).output]
    name = {"test": "test", "val": "dev"}[split]
    assert caption[1:-2] == [str(flickr8k / "Flicker8k_Dataset" / f"{name}.jpg")]


def test_without_data_the_generated_scenes_are_used(tmp_path: Path) -> None:
    (tmp_path / "run" / "data" / "scenes" / "test2017").mkdir(parents=True)
    scenes, train, evaluate, caption = calls(tmp_path / "run")
    assert scenes[1] == composed(train).data.root == composed(evaluate).data.root
    assert composed(evaluate).data.split == "test"
    assert caption[0] == "caption"
