"""Several processes, started as a user starts them, do what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

pytestmark = pytest.mark.slow

TINY = (
    "encoder.size=[16,16]",
    "encoder.channels=[8,16]",
    "finetuning=whole",
    "decoder.hidden_size=12",
    "decoder.embedding_size=10",
    "search.max_length=6",
    "trainer.max_epochs=1",
    "callbacks.progress=null",
    "logger=csv",
)


def captioning(*arguments: str) -> str:
    quiet = ("trainer.accelerator=cpu", "+trainer.enable_progress_bar=false", "data=scenes")
    ran = subprocess.run(
        [sys.executable, "-m", "captioning", *arguments, *quiet],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


WHOLE = (  # what one process and several train alike: nothing is drawn at random
    "objective=caption_and_objects",
    "encoder.grid=true",
    "data.objects=true",
    "decoder.dropout=0",
    "optimizer=sgd",
    "optimizer.lr=0.2",
)


@pytest.fixture(scope="module")
def runs(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained by two processes."""
    folder = tmp_path_factory.mktemp("runs")
    given = (f"data.root={scenes}", *TINY, *WHOLE, "data.batch_size=2", "data.captions_per_image=3")
    captioning("train", *given, f"output={folder / 'run'}", "trainer.devices=2")
    return folder


def test_two_processes_train_what_one_trains(runs: Path, scenes: Path, tmp_path: Path) -> None:
    captioning("train", f"data.root={scenes}", *TINY, *WHOLE, "data.batch_size=4", "data.captions_per_image=3",
               f"output={tmp_path / 'run'}")  # fmt: skip
    alone, together = (
        torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (tmp_path, runs)
    )
    assert_close(together, alone, rtol=0, atol=1e-6)
    assert any(name.startswith("objective.") for name in alone)


def test_an_evaluation_by_two_processes_equals_that_of_one_bit_by_bit(runs: Path, scenes: Path, tmp_path: Path) -> None:
    bundle = f"bundle={runs / 'run' / 'bundle'}"
    given = ("evaluate", bundle, f"data.root={scenes}", "data.split=test", "data.eval_batch_size=3")
    for processes in ("1", "2"):  # of three batches, so that one process repeats one
        captioning(*given, f"output={tmp_path / processes}", f"trainer.devices={processes}")
    for name in ("metrics.json", "captions.json", "per_image.csv"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    annotations = json.loads((scenes / "annotations" / "captions_test2017.json").read_text())
    scored = [entry["image_id"] for entry in json.loads((tmp_path / "2" / "captions.json").read_text())]
    assert scored == [image["id"] for image in annotations["images"]]


def test_training_by_two_processes_writes_one_whole_run(runs: Path) -> None:
    run = runs / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["signature"]["num_images"] == 8
    assert (run / "bundle" / "model.safetensors").is_file()
    assert (run / ".hydra" / "config.yaml").is_file()


def test_a_sweep_by_two_processes_a_run_is_one_sweep(scenes: Path, tmp_path: Path) -> None:
    given = (f"data.root={scenes}", *TINY, "trainer.devices=2", "decoder=show_and_tell", "seed=1,2")
    said = captioning("train", "-m", *given, f"hydra.sweep.dir={tmp_path}/${{now:%H-%M-%S-%f}}")
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.iterdir()} == {"0", "1", "multirun.yaml", "sweep.csv"}
    assert said.count("all runs:") == 1
    assert "failed" not in said
    for run in ("0", "1"):
        assert (folder / run / "bundle").is_dir()
