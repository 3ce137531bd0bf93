"""From an aligner to captions of regions, through snippets, training and a bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioning import Captioner
from captioning.encoders import GridCells

Command = Callable[..., Any]
SMALL = (
    "decoder.hidden_size=12", "decoder.embedding_size=12", "search.max_length=4", "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1",
    "+trainer.enable_progress_bar=false", "callbacks.progress=null", "logger=csv", "schedule=constant",
    "text.min_count=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(command: Command, aligner: Path, region_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a captioner of regions."""
    folder = tmp_path_factory.mktemp("captioner") / "run"
    ran = command(
        "train", "experiment=scenes/region_captions", f"data.root={region_data}", f"encoder.weights={aligner}", *SMALL,
        f"output={folder}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    return folder


@pytest.fixture
def image(scenes: Path) -> Path:
    return min((scenes / "val2017").glob("*.jpg"))


def test_what_was_found_and_left_out_is_printed(command: Command, aligner: Path, scenes: Path, tmp_path: Path) -> None:
    settings = (f"bundle={aligner}", "data=scenes", f"data.root={scenes}", "splits=[dev]", "beta=0", "device=cpu")
    ran = command("snippets", *settings, f"output={tmp_path / 'data'}")
    assert ran.status == 0, ran.err
    assert "from 40 captions of 8 images; left out: " in ran.out
    assert "snippets of fewer than 2 words, and 0 captions without a known word" in ran.out
    images = json.loads((tmp_path / "data" / "dataset_regions.json").read_text())["images"]
    assert {image["split"] for image in images} == {"val"}
    assert min(len(sentence["raw"].split()) for image in images for sentence in image["sentences"]) == 2
    checked = command("check", tmp_path / "data" / "features")
    assert f"features of {len(images)} images; their digests match" in checked.out
    again = command("snippets", *settings, f"output={tmp_path / 'data'}")
    assert "already holds dataset_regions.json and features; choose another folder" in again.message


def test_a_bundle_captions_regions_without_the_aligner_s_bundle(
    command: Command, run: Path, image: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(run / "bundle", tmp_path / "moved")
    model = Captioner.from_pretrained(moved)
    assert isinstance(model.encoder, GridCells)
    assert command("check", run).status == 0
    ran = command("regions", image, "--model", moved, "--most", "3", "--json", "--out", tmp_path / "drawn")
    assert ran.status == 0, ran.err
    line = json.loads(ran.out)
    assert line["image"] == str(image)
    assert 1 <= len(line["regions"]) <= 3
    assert {"caption", "score", "cells"} == set(line["regions"][0])
    assert (tmp_path / "drawn" / f"{image.stem}.png").stat().st_size > 1000
    lines = command("regions", image, "--model", moved, "--most", "1").out.splitlines()
    first = line["regions"][0]
    row, column = divmod(first["cells"][0], 8)
    more = f" and {len(first['cells']) - 1} more" if len(first["cells"]) > 1 else ""
    assert lines == [
        f"{image}:",
        f"  row {row + 1}, column {column + 1}{more}: {first['caption']} ({first['score']:.2f})",
    ]


def test_the_evaluation_of_the_bundle_gives_the_scores_of_training(
    command: Command, run: Path, region_data: Path, tmp_path: Path
) -> None:
    ran = command(
        "evaluate", f"bundle={run / 'bundle'}", "data=regions", f"data.root={region_data}", f"output={tmp_path / 'out'}"
    )
    assert ran.status == 0, ran.err
    own, again = (json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path / "out"))
    assert again["metrics"] == own["metrics"]
    assert own["signature"]["data"] == "regions"


def test_an_unreadable_image_is_reported_and_the_others_are_captioned(
    command: Command, run: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    ran = command("regions", tmp_path / "broken.jpg", image, "--model", run / "bundle")
    assert ran.status == 1
    assert "broken.jpg" in ran.message
    assert ran.out.startswith(f"{image}:\n  row ")


def test_a_captioner_of_images_is_refused(command: Command, bundle: Path, aligner: Path, image: Path) -> None:
    assert "its captions are of whole images" in command("regions", image, "--model", bundle).message
    assert "holds a matcher, expected a decoder" in command("regions", image, "--model", aligner).message


def test_only_the_fitting_model_reads_the_regions_features(
    command: Command, run: Path, bundle: Path, region_data: Path, tmp_path: Path
) -> None:
    settings = ("data=regions", f"data.root={region_data}", f"output={tmp_path / 'out'}")
    ran = command("evaluate", f"bundle={bundle}", *settings)
    assert "holds features of another encoder: class is 'GridCells' there and 'SmallCNN' here" in ran.message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("encoder.weights=null",), "or for encoder=grid_cells to that of an aligner"),
        (("encoder.weights=nowhere",), "nowhere does not exist; a bundle is"),
        (("encoder.weights=BUNDLE",), "holds a decoder, expected a matcher, which `captioning train"),
        (("data.root=nowhere",), "dataset_regions.json: no such file; make it: captioning snippets output=nowhere"),
        (("data.features=null",), "add them, or set data.features=DIR"),
    ],
)
def test_what_a_captioner_of_regions_lacks_is_explained(
    command: Command,
    aligner: Path,
    bundle: Path,
    region_data: Path,
    tmp_path: Path,
    settings: tuple[str, ...],
    message: str,
) -> None:
    given = [setting.replace("BUNDLE", str(bundle)) for setting in settings]
    ran = command(
        "train", "experiment=scenes/region_captions", f"data.root={region_data}", f"encoder.weights={aligner}", *SMALL,
        *given, f"output={tmp_path / 'run'}",
    )  # fmt: skip
    assert message in ran.message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("beta=-1",), "beta=-1: expected a number from 0"),
        (("min_words=0",), "min_words=0: expected a whole number from 1"),
        (("min_words=90",), "no snippet of train has 90 words; raise beta"),
        (("bundle=BUNDLE",), "holds a decoder, expected a matcher"),
        (("dtype=int8",), "dtype='int8' of features, expected float16 or float32"),
        (("device=nothing",), "device=nothing: "),
        (("splits=[other]",), "other"),
    ],
)
def test_wrong_settings_of_snippets_are_explained(
    command: Command,
    aligner: Path,
    bundle: Path,
    scenes: Path,
    tmp_path: Path,
    settings: tuple[str, ...],
    message: str,
) -> None:
    given = {"bundle": f"bundle={aligner}"} | {s.partition("=")[0]: s.replace("BUNDLE", str(bundle)) for s in settings}
    ran = command("snippets", "data=scenes", f"data.root={scenes}", *given.values(), f"output={tmp_path / 'data'}")
    assert message in ran.message
    assert not (tmp_path / "data" / "features").exists() and not (tmp_path / "data" / "dataset_regions.json").exists()
