"""Several processes, started as a user starts them, do what one does."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch.testing import assert_close

pytestmark = pytest.mark.slow

ROOT = str(Path(__file__).parents[1])
PATH = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []

TINY = (
    "encoder.size=[16,16]",
    "encoder.channels=[8,16]",
    "finetuning=whole",
    "decoder.hidden_size=12",
    "decoder.embedding_size=10",
    "search.max_length=6",
    "trainer.max_epochs=1",
    "trainer.log_every_n_steps=1",
    "callbacks.progress=null",
    "logger=csv",
)


def captioning(*arguments: str, by: tuple[str, ...] = ()) -> str:
    """Run the command, started by another module of Python's."""
    quiet = ("trainer.accelerator=cpu", "+trainer.enable_progress_bar=false", "data=scenes")
    ran = subprocess.run(
        [sys.executable, *by, "-m", "captioning", *arguments, *quiet],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, *PATH]), "OMP_NUM_THREADS": "1"},
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
    captioning("train", *given, f"output={folder / 'run'}", "trainer=ddp", "trainer.devices=2")
    return folder


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def losses(run: Path) -> list[float]:
    """The loss of each step that was logged."""
    with (run / "csv" / "version_0" / "metrics.csv").open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_two_processes_train_what_one_trains(runs: Path, scenes: Path, tmp_path: Path) -> None:
    captioning("train", f"data.root={scenes}", *TINY, *WHOLE, "data.batch_size=4", "data.captions_per_image=3",
               f"output={tmp_path / 'run'}")  # fmt: skip
    alone, together = (
        torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (tmp_path, runs)
    )
    assert_close(together, alone, rtol=0, atol=1e-6)
    assert_close(losses(runs / "run"), losses(tmp_path / "run"), rtol=0, atol=1e-5)
    assert len(losses(runs / "run")) == 12  # 24 images with 2 parts of their captions, 4 a step
    assert any(name.startswith("objective.") for name in alone)


def test_torchrun_trains_what_lightning_s_own_processes_train(runs: Path, scenes: Path, tmp_path: Path) -> None:
    given = (f"data.root={scenes}", *TINY, *WHOLE, "data.batch_size=2", "data.captions_per_image=3", "trainer=ddp")
    captioning("train", *given, "trainer.devices=2", f"output={tmp_path / 'run'}", by=TORCHRUN)
    theirs, own = (
        torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (tmp_path, runs)
    )
    assert_close(theirs, own, rtol=0, atol=1e-6)
    assert losses(tmp_path / "run") == pytest.approx(losses(runs / "run"), abs=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "output=DIR must be given: torchrun or SLURM counts 2 processes"),
        (("output=RUN",), "torchrun or SLURM counts 2 processes, but trainer.devices x trainer.num_nodes is 1 x 1"),
    ],
)
def test_processes_of_torchrun_that_would_train_apart_are_refused(
    scenes: Path, tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    chosen = [text.replace("RUN", str(tmp_path / "run")) for text in given]
    with pytest.raises(AssertionError) as refused:
        captioning("train", f"data.root={scenes}", *TINY, *chosen, by=TORCHRUN)
    assert message in str(refused.value)


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


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_runs_in_other_processes_are_one_sweep_with_one_table(scenes: Path, tmp_path: Path, launcher: str) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    given = (f"data.root={scenes}", *TINY, f"hydra/launcher={launcher}", "seed=1,2", f"output={tmp_path}")
    said = captioning("train", "-m", *given)
    assert said.count("all runs:") == 1
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["seed"], bool(row["CIDEr"])) for row in rows] == [("0", "1", True), ("1", "2", True)]


def test_a_search_maximises_the_score_that_a_run_returns(scenes: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    pytest.importorskip("optuna")
    search = ("hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=3",
              "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=1", "optimizer.lr=interval(0.001,0.1)")  # fmt: skip
    captioning("train", "-m", f"data.root={scenes}", *TINY, *search, f"output={tmp_path}")
    found = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    with (tmp_path / "sweep.csv").open(newline="") as file:
        scores = {float(row["optimizer.lr"]): float(row["CIDEr"]) for row in csv.DictReader(file)}
    assert len(scores) == 3
    assert found["best_value"] == pytest.approx(max(scores.values()), abs=1e-6)
    assert scores[found["best_params"]["optimizer.lr"]] == max(scores.values())


def test_a_sweep_by_two_processes_a_run_is_one_sweep(scenes: Path, tmp_path: Path) -> None:
    given = (f"data.root={scenes}", *TINY, "trainer.devices=2", "decoder=show_and_tell", "seed=1,2")
    said = captioning("train", "-m", *given, f"hydra.sweep.dir={tmp_path}/${{now:%H-%M-%S-%f}}")
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.iterdir()} == {"0", "1", "multirun.yaml", "sweep.csv"}
    assert said.count("all runs:") == 1
    assert "failed" not in said
    for run in ("0", "1"):
        assert (folder / run / "bundle").is_dir()
