"""captioning train when a loss or its gradient is not finite."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from captioning.objectives import CrossEntropy

Command = Callable[..., Any]
SETTINGS = ("finetuning=whole", "trainer.max_epochs=2", "data.batch_size=5", "schedule.gamma=1.0")  # 5 steps an epoch


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "bundle" / "model.safetensors")


@pytest.fixture
def image(scenes: Path) -> str:
    """One of the training images' ids."""
    images = json.loads((scenes / "annotations" / "captions_train2017.json").read_text())["images"]
    return str(images[7]["id"])


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[torch.Tensor], torch.Tensor]], None]:
    """Changes the loss of the batches that hold an image: broken(image id, change)."""
    plain = CrossEntropy.__call__

    def change(image: str, how: Callable[[torch.Tensor], torch.Tensor]) -> None:
        def loss(self: CrossEntropy, decoder: Any, features: Any, batch: Any) -> torch.Tensor:
            value = plain(self, decoder, features, batch)
            return how(value) if image in map(str, batch.image_ids) else value

        monkeypatch.setattr(CrossEntropy, "__call__", loss)

    return change


def not_a_number(loss: torch.Tensor) -> torch.Tensor:
    return loss * torch.nan


class Steep(torch.autograd.Function):
    """The identity, with a gradient that is infinite."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.inf


@pytest.mark.parametrize(
    ("how", "what"), [(not_a_number, "the loss is nan"), (Steep.apply, "the norm of the gradient is ")]
)
def test_a_run_stops_with_step_and_images_and_resumes_with_the_same_step(
    train: Command, tmp_path: Path, image: str, broken: Any, monkeypatch: pytest.MonkeyPatch, how: Any, what: str
) -> None:
    assert train(tmp_path / "whole", *SETTINGS).status == 0
    broken(image, how)
    first = train(tmp_path / "run", *SETTINGS)
    again = train(tmp_path / "run", *SETTINGS, "resume=auto")
    for ran in (first, again):
        assert ran.status == 1 and "Traceback" not in ran.err and what in ran.err, ran.err
        assert "resume=auto goes on from the state before it, and repeats this step" in ran.err
        assert image in re.findall(r"with the images ([^.]*)\.", ran.err)[0].split(", ")
    assert first.err.partition("epoch ")[2].partition(":")[0] == again.err.partition("epoch ")[2].partition(":")[0]
    monkeypatch.undo()
    assert train(tmp_path / "run", *SETTINGS, "resume=auto").status == 0
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("how", [not_a_number, Steep.apply])
def test_steps_are_left_out_and_counted_if_that_is_asked_for(
    train: Command, tmp_path: Path, image: str, broken: Any, how: Any
) -> None:
    broken(image, how)
    ran = train(tmp_path / "run", *SETTINGS, "not_finite=skip")
    assert ran.status == 0, ran.err
    assert json.loads((tmp_path / "run" / "training.json").read_text())["skipped_steps"] == 2  # one in each epoch
    assert "the step is left out, the 2. so far" in ran.out
    assert all(weight.isfinite().all() for weight in weights(tmp_path / "run").values())


def test_a_stopped_run_can_go_on_without_the_step(train: Command, tmp_path: Path, image: str, broken: Any) -> None:
    broken(image, not_a_number)
    assert train(tmp_path / "whole", *SETTINGS, "not_finite=skip").status == 0
    assert train(tmp_path / "run", *SETTINGS).status == 1
    assert train(tmp_path / "run", *SETTINGS, "not_finite=skip", "resume=auto").status == 0
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_another_action_is_refused(train: Command, tmp_path: Path) -> None:
    assert "not_finite=ignore: expected stop or skip" in train(tmp_path / "run", "not_finite=ignore").message
