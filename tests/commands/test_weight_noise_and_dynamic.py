"""captioning train callbacks=weight_noise, and captioning evaluate dynamic=RATE."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

Command = Callable[..., Any]
LANGUAGE_MODEL = (
    "encoder=none", "decoder=language_model", "decoder.hidden_size=12", "decoder.embedding_size=10",
    "search.max_length=6", "trainer.max_epochs=1", "trainer.accelerator=cpu", "+trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1", "callbacks.progress=null", "logger=csv",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(command: Command, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A language model, and one that went on from it with weight noise."""
    folder = tmp_path_factory.mktemp("runs")
    first, noisy = folder / "first", folder / "noisy"
    given = (f"data.root={scenes}", *LANGUAGE_MODEL)
    ran = command("train", *given, f"output={first}")
    assert ran.status == 0, ran.err
    ran = command("train", *given, "callbacks=weight_noise", f"start={first}", f"output={noisy}")
    assert ran.status == 0, ran.err
    return first, noisy


def evaluate(command: Command, bundle: Path, scenes: Path, output: Path, *overrides: str) -> Any:
    quiet = ("trainer.accelerator=cpu", "+trainer.enable_progress_bar=false", "data.split=test", "examples=0")
    given = (f"bundle={bundle}", "data=scenes", f"data.root={scenes}", f"output={output}")
    return command("evaluate", *given, *quiet, *overrides)


def test_the_bundle_has_the_checkpoint_s_weights_without_noise(runs: tuple[Path, Path]) -> None:
    first, noisy = (load_file(run / "bundle" / "model.safetensors") for run in runs)
    last = torch.load(runs[1] / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    kept = {name.removeprefix("model."): value for name, value in last.items()}
    assert all(torch.equal(kept[name], value) for name, value in noisy.items() if name in kept)
    assert any(not torch.equal(first[name], noisy[name]) for name in first)
    # a step of Adam changes a weight by about the learning rate; noise would change it by 0.075
    assert max((noisy[name] - first[name]).abs().max().item() for name in first) < 0.05


def test_dynamic_evaluation_stands_beside_the_static_one(
    command: Command, scenes: Path, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    ran = evaluate(command, runs[0], scenes, tmp_path, "dynamic=0.5")
    assert ran.status == 0, ran.err
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["dynamic"]["learning_rate"] == 0.5
    for name in ("loss", "perplexity", "bits_per_character"):
        assert found["dynamic"][name] < found["language_model"][name]
    assert f"dynamic evaluation (learning rate 0.5): perplexity {found['dynamic']['perplexity']:.2f}" in ran.out


def test_captioners_and_low_precision_are_refused(
    command: Command, scenes: Path, runs: tuple[Path, Path], bundle: Path, tmp_path: Path
) -> None:
    assert "only language models" in evaluate(command, bundle, scenes, tmp_path, "dynamic=0.5").err
    assert "too coarse" in evaluate(command, runs[0], scenes, tmp_path, "dynamic=0.5", "dtype=bfloat16").err
    assert "above 0" in evaluate(command, runs[0], scenes, tmp_path, "dynamic=0").err
