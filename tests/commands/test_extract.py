"""captioning extract: cached features train as images do, and a killed run goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from captioning.data.features.store import FeatureStore
from captioning.encoders import SmallCNN
from captioning.files.lock import locked

Command = Callable[..., Any]
ENCODER = ("encoder.size=[16,16]", "encoder.channels=[8,16]")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder's weights, which extraction and training must share."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    save_file(SmallCNN((16, 16), channels=(8, 16)).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def extract(command: Command, scenes: Path, weights: Path) -> Command:
    def run(features: Path, *overrides: str) -> Any:
        given = ("data=scenes", f"data.root={scenes}", "encoder=small_cnn", *ENCODER, f"encoder.weights={weights}")
        return command("extract", *given, f"features={features}", "dtype=float32", "device=cpu", *overrides)

    return run


def test_training_from_features_gives_what_training_from_images_gives(
    extract: Command, train: Command, weights: Path, scenes: Path, tmp_path: Path
) -> None:
    assert extract(tmp_path / "features", "batch_size=5").status == 0
    root = tmp_path / "scenes"
    shutil.copytree(scenes, root, ignore=shutil.ignore_patterns("*.jpg"))  # no image is needed any more
    same = (f"encoder.weights={weights}", "finetuning=frozen", "standardise=true")
    ran = train(tmp_path / "cached", f"data.root={root}", f"data.features={tmp_path / 'features'}", *same)
    assert ran.status == 0
    assert train(tmp_path / "plain", *same).status == 0
    cached, plain = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("cached", "plain"))
    assert cached["language_model"] == pytest.approx(plain["language_model"], rel=1e-4)
    one, other = (load_file(tmp_path / name / "bundle" / "model.safetensors") for name in ("cached", "plain"))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-4)


def test_the_features_of_a_trained_model_are_scored_as_its_images_are(
    command: Command, bundle: Path, scenes: Path, tmp_path: Path
) -> None:
    """The run has trained its encoder, so that no `encoder=` describes it."""
    data, features = ("data=scenes", f"data.root={scenes}"), tmp_path / "features"
    given = (f"bundle={bundle}", f"features={features}", "splits=[val]", "dtype=float32", "device=cpu")
    assert command("extract", *data, *given).status == 0
    scored = (f"bundle={bundle}", *data, "data.split=val")
    assert command("evaluate", *scored, f"output={tmp_path / 'plain'}").status == 0
    assert command("evaluate", *scored, f"data.features={features}", f"output={tmp_path / 'cached'}").status == 0
    plain, cached = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("plain", "cached"))
    assert cached["language_model"] == pytest.approx(plain["language_model"], rel=1e-4)
    assert cached["metrics"] == pytest.approx(plain["metrics"], abs=1e-3)


def test_features_are_refused_by_another_encoder(extract: Command, train: Command, tmp_path: Path) -> None:
    assert extract(tmp_path / "features").status == 0
    torch.manual_seed(1)
    save_file(SmallCNN((16, 16), channels=(8, 16)).state_dict(), tmp_path / "other.safetensors")
    other = (f"encoder.weights={tmp_path / 'other.safetensors'}", "finetuning=frozen")
    ran = train(tmp_path / "run", f"data.features={tmp_path / 'features'}", *other)
    assert "features of another encoder" in ran.message
    assert "`captioning extract" in ran.message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["finetuning=whole"], "on which the encoder cannot be trained; set finetuning=frozen"),
        (
            ["finetuning=frozen", "data.augment={hue: 0.1}"],
            "images without augmentation; set data.augment=null",
        ),
    ],
)
def test_what_cached_features_cannot_give_is_refused(
    extract: Command, train: Command, weights: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    cached = (f"encoder.weights={weights}", f"data.features={tmp_path / 'features'}")
    assert message in train(tmp_path / "run", *cached, *overrides).message


def test_features_of_bfloat16_are_refused_unless_they_are_asked_for(
    extract: Command, train: Command, weights: Path, tmp_path: Path
) -> None:
    assert extract(tmp_path / "half", "precision=bfloat16", "splits=[val]").status == 0
    assert extract(tmp_path / "full", "splits=[val]").status == 0
    half, full = (FeatureStore(tmp_path / name / "val").rows(range(5)).pooled for name in ("half", "full"))
    assert 0 < (half - full).norm() < 0.05 * full.norm()
    assert extract(tmp_path / "half", "precision=bfloat16", "splits=[train]").status == 0
    cached = (f"data.features={tmp_path / 'half'}", f"encoder.weights={weights}", "finetuning=frozen")
    assert "accept them by data.features_precision=bfloat16" in train(tmp_path / "refused", *cached).message
    assert train(tmp_path / "run", *cached, "data.features_precision=bfloat16").status == 0
    ran = train(tmp_path / "other", *cached, "data.features_precision=float16")
    assert "precision=float16: expected float32 or bfloat16" in ran.message


def test_another_decoder_learns_on_the_features_of_a_trained_model_and_is_evaluated_on_them(
    extract: Command, train: Command, command: Command, scenes: Path, tmp_path: Path
) -> None:
    assert train(tmp_path / "tuned", "finetuning=whole").status == 0
    of_model = f"encoder.weights={tmp_path / 'tuned'}"
    assert extract(tmp_path / "features", of_model).status == 0
    cached = (f"data.features={tmp_path / 'features'}", of_model, "finetuning=frozen", "callbacks=moving_average")
    ran = train(tmp_path / "run", *cached, "callbacks.moving_average.decay=0.9", "callbacks.progress=null")
    assert ran.status == 0, ran.err
    given = ("data=scenes", f"data.root={scenes}", f"data.features={tmp_path / 'features'}")
    ran = command("evaluate", f"bundle={tmp_path / 'run'}", *given, f"output={tmp_path / 'scores'}")
    assert ran.status == 0, ran.err


def test_dev_is_val(extract: Command, tmp_path: Path) -> None:
    assert extract(tmp_path, "splits=[dev]").status == 0
    assert (tmp_path / "val" / "manifest.json").is_file()
    assert not (tmp_path / "dev").exists()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_image_is_one_message(extract: Command, scenes: Path, tmp_path: Path, num_workers: int) -> None:
    shutil.copytree(scenes, tmp_path / "scenes")
    broken = min((tmp_path / "scenes" / "val2017").iterdir())
    broken.write_bytes(broken.read_bytes()[:300])
    given = ("splits=[val]", f"data.root={tmp_path / 'scenes'}", f"data.num_workers={num_workers}")
    assert extract(tmp_path / "features", *given).message.startswith(
        f"captioning extract: 1 of 8 images cannot be read: {broken}: "
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.root=nowhere", "make it: captioning scenes nowhere"),
        ("splits=[train,valid]", "captions_valid2017.json"),
        ("dtype=float64", "float16 or float32"),
        ("features=/dev/null/features", "/dev/null"),
        ("device=abacus", "abacus"),
        ("batch_size=0", "batch_size=0: expected a whole number from 1"),
    ],
)
def test_a_mistake_is_one_message(
    extract: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in extract(tmp_path / "features", override).message


def test_features_must_be_given(command: Command, scenes: Path) -> None:
    assert "features must be given" in command("extract", "data=scenes", "encoder=small_cnn").message


def test_a_model_of_regions_trains_and_is_scored_from_their_files_alone(
    command: Command, scenes: Path, tmp_path: Path
) -> None:
    root, boxes = tmp_path / "scenes", tmp_path / "boxes"
    shutil.copytree(scenes, root, ignore=shutil.ignore_patterns("*.jpg"))
    boxes.mkdir()
    random = np.random.default_rng(0)
    for one_image in (path for split in ("train", "val") for path in (scenes / f"{split}2017").iterdir()):
        np.savez(
            boxes / f"{one_image.stem}.npz", feat=random.normal(size=(random.integers(1, 5), 6)).astype(np.float32)
        )
    data = ("data=scenes", f"data.root={root}")
    encoder = ("encoder=regions", "encoder.feature_size=6", "encoder.num_regions=4")
    features = tmp_path / "features"
    assert command("extract", *data, *encoder, f"regions={boxes}", f"features={features}").status == 0
    tiny = ("decoder=up_down", "decoder.hidden_size=12", "search.max_length=6", "trainer.max_epochs=1", "logger=csv")
    quiet = ("callbacks.progress=null", "+trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1")
    run = ("trainer.accelerator=cpu", f"data.features={features}", f"output={tmp_path / 'run'}")
    ran = command("train", *data, *encoder, *tiny, *quiet, *run)
    assert ran.status == 0, ran.err
    bundle = tmp_path / "run" / "bundle"
    scored = command(
        "evaluate", f"bundle={bundle}", *data, f"data.features={features}", "data.split=val", f"output={tmp_path / 'e'}"
    )
    assert scored.status == 0, scored.err
    trained, evaluated = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("run", "e"))
    assert evaluated["metrics"] == trained["metrics"]
    one_image = next((scenes / "val2017").iterdir())
    assert (
        "captioning has no detector; set data.features=DIR" in command("caption", "--model", bundle, one_image).message
    )


def test_replaced_images_are_noticed_by_training_and_by_extraction(
    extract: Command, train: Command, weights: Path, scenes: Path, tmp_path: Path
) -> None:
    root = tmp_path / "scenes"
    shutil.copytree(scenes, root)  # with the times of the original
    given = (tmp_path / "features", f"data.root={root}")
    assert extract(*given).status == 0
    assert extract(tmp_path / "features").status == 0  # the same images in another folder
    first, second = sorted((root / "train2017").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    message = f"image files were replaced after their features were cached ('{first.name}'); delete"
    assert message in extract(*given).message
    cached = (f"data.features={tmp_path / 'features'}", f"encoder.weights={weights}", "finetuning=frozen")
    assert message in train(tmp_path / "run", f"data.root={root}", *cached).message


def test_a_second_extraction_into_a_store_is_refused(extract: Command, tmp_path: Path) -> None:
    with locked(tmp_path / "features" / "train"):
        message = extract(tmp_path / "features").message
    assert f"another process is writing {tmp_path / 'features' / 'train'}; wait until it has finished" in message
    assert extract(tmp_path / "features").status == 0


@pytest.mark.slow
def test_a_killed_extraction_is_resumed(extract: Command, command: Command, weights: Path, tmp_path: Path) -> None:
    root = tmp_path / "many"
    assert command("scenes", root, "--train", "3000", "--val", "1", "--test", "1", "--size", "32").status == 0
    settings = (f"data.root={root}", "splits=[train]", "batch_size=8")
    given = ("data=scenes", "encoder=small_cnn", *ENCODER, f"encoder.weights={weights}", "dtype=float32", "device=cpu")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-m", "captioning", "extract", *given, *settings, f"features={killed}"],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    manifest = killed / "train" / "manifest.json"

    def rows_done() -> int:
        return int(json.loads(manifest.read_text())["rows_done"]) if manifest.is_file() else 0

    while process.poll() is None and not rows_done():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = rows_done()
    assert 0 < done < 3000
    ran = extract(killed, *settings)
    assert ran.status == 0
    assert f"{done} of 3000 images are done" in ran.out
    assert extract(whole, *settings).status == 0
    for name in ("pooled.npy", "manifest.json"):
        assert (killed / "train" / name).exists()
    np.testing.assert_allclose(
        np.load(killed / "train" / "pooled.npy"), np.load(whole / "train" / "pooled.npy"), atol=1e-5
    )


def test_skipped_broken_image_is_skipped_in_training_from_the_features_too(
    extract: Command, train: Command, scenes: Path, weights: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(scenes, tmp_path / "scenes"))
    image = min((root / "train2017").glob("*.jpg"))
    image.write_bytes(b"<html>")
    features = tmp_path / "features"
    assert f"{image}: not an image" in extract(features, f"data.root={root}").message
    assert extract(features, f"data.root={root}", "data.skip_broken=true").status == 0
    given = (f"data.root={root}", f"data.features={features}", f"encoder.weights={weights}", "finetuning=frozen")
    assert "images" in train(tmp_path / "run", *given).message
    assert train(tmp_path / "run2", *given, "data.skip_broken=true").status == 0
