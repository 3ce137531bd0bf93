"""captioning train with a moving average of the weights, and captioning bundle of several checkpoints."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from captioning.training.captioning import CaptioningModule

Command = Callable[..., Any]
AVERAGED = ("finetuning=whole", "callbacks=moving_average", "callbacks.progress=null",
            "callbacks.moving_average.decay=0.7", "trainer.max_epochs=2")  # fmt: skip


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "bundle" / "model.safetensors")


def test_the_bundle_holds_the_average_and_a_run_stopped_in_a_validation_resumes_bit_for_bit(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(tmp_path / "whole", *AVERAGED).status == 0
    assert train(tmp_path / "plain", *AVERAGED, "callbacks.moving_average=null").status == 0
    whole, plain = weights(tmp_path / "whole"), weights(tmp_path / "plain")
    assert any(not torch.equal(whole[key], plain[key]) for key in whole)
    last = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    latest = torch.load(tmp_path / "plain" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(last["current_model_state"][key], latest[key]) for key in latest)

    seen, step = [], CaptioningModule.validation_step

    def interrupted(self: Any, *arguments: Any) -> Any:
        seen.append(1)
        if len(seen) == 2:  # one for the rehearsal before training
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    monkeypatch.setattr(CaptioningModule, "validation_step", interrupted)
    ran = train(tmp_path / "halves", *AVERAGED)
    monkeypatch.undo()
    assert ran.status == 143, ran.err
    assert train(tmp_path / "halves", *AVERAGED, "resume=auto").status == 0
    halves = weights(tmp_path / "halves")
    assert all(torch.equal(whole[key], halves[key]) for key in whole)


def test_a_bundle_of_several_checkpoints_holds_their_average(train: Command, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(run, "finetuning=whole", "trainer.max_epochs=3", "callbacks.checkpoint.save_top_k=-1").status == 0
    files = sorted((run / "checkpoints").glob("epoch_*.ckpt"))
    assert len(files) == 3
    ran = command("bundle", *files, tmp_path / "average")
    assert ran.status == 0, ran.err
    found = load_file(tmp_path / "average" / "model.safetensors")
    states = [torch.load(file, weights_only=True)["state_dict"] for file in files]
    for name, weight in found.items():
        total = torch.zeros(weight.shape, dtype=torch.float64)
        for state in states:
            total += state[f"model.{name}"].double()
        expected = (total / 3).to(weight.dtype) if weight.is_floating_point() else states[-1][f"model.{name}"]
        assert_close(weight, expected, rtol=0, atol=1e-7)
    assert command("caption", "--model", tmp_path / "average", "--help").status == 0


def test_checkpoints_of_different_models_are_not_averaged(
    train: Command, command: Command, run_folder: Path, tmp_path: Path
) -> None:
    assert train(tmp_path / "run", "finetuning=whole", "decoder.hidden_size=9").status == 0
    one, other = (run / "checkpoints" / "last.ckpt" for run in (run_folder, tmp_path / "run"))
    message = command("bundle", one, other, tmp_path / "average").message
    assert f"{other} is of another model: decoder.hidden_size=9 (here 12)" in message
    assert not (tmp_path / "average").exists()
