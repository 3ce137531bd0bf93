"""Weight noise equals a loop in float64, and nothing but a step's gradient sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from captioning.errors import InputError
from captioning.seeds import seed_of
from captioning.training.averaging import MovingAverage
from captioning.training.trainer import quieten_lightning
from captioning.training.weight_noise import _STREAM, WeightNoise

DATA = torch.linspace(-1, 1, 6, dtype=torch.float64).view(3, 2)
START = torch.tensor([1.0, -2.0], dtype=torch.float64)


class Drifting(pl.LightningModule):
    """A weight that drifts along the gradient of (w·x)²; keeps what it is in each step and in each validation."""

    def __init__(self, left_out: int = -1) -> None:
        super().__init__()
        self.weight = nn.Parameter(START.clone())
        self.frozen = nn.Parameter(START.clone(), requires_grad=False)
        self.left_out, self.read, self.validated = left_out, list[Tensor](), list[Tensor]()

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor | None:
        self.read.append(self.weight.detach().clone())
        assert torch.equal(self.frozen, START)
        if batch_index == self.left_out:
            return None
        return ((self.weight + 0 * self.frozen) * batch).sum() ** 2

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        self.validated.append(self.weight.detach().clone())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([self.weight], lr=0.1)


def fit(
    folder: Path, *callbacks: pl.Callback, epochs: int = 2, left_out: int = -1, ckpt_path: Path | None = None
) -> tuple[Drifting, pl.Trainer]:
    quieten_lightning()
    module = Drifting(left_out)
    trainer = pl.Trainer(
        default_root_dir=folder, max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, callbacks=list(callbacks),
    )  # fmt: skip
    loaders = {"train_dataloaders": DataLoader(DATA, batch_size=None), "val_dataloaders": DataLoader(DATA[:1])}
    trainer.fit(module, **loaders, ckpt_path=ckpt_path, weights_only=True)
    return module, trainer


def noise(step: int, *, std: float = 0.5, seed: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed_of(_STREAM, seed, step, 0))
    return std * torch.randn(2, generator=generator, dtype=torch.float64)


def loop(count: int) -> list[Tensor]:
    """The weights before each step and after the last."""
    w = START.tolist()
    found = [torch.tensor(w, dtype=torch.float64)]
    for step in range(count):
        x, e = DATA[step % 3].tolist(), noise(step).tolist()
        product = sum((w[i] + e[i]) * x[i] for i in range(2))
        w = [w[i] - 0.1 * 2 * product * x[i] for i in range(2)]
        found.append(torch.tensor(w, dtype=torch.float64))
    return found


def test_each_gradient_is_of_weights_with_noise_and_each_step_is_taken_from_weights_without(tmp_path: Path) -> None:
    module, _ = fit(tmp_path, WeightNoise(0.5, seed=7))
    expected = loop(6)
    read = [w + noise(step) for step, w in enumerate(expected[:-1])]
    assert_close(module.read, read, rtol=0, atol=1e-12)
    assert_close(module.weight.detach(), expected[-1], rtol=0, atol=1e-12)


def test_the_noise_has_the_standard_deviation_and_is_drawn_anew_for_each_step_and_seed() -> None:
    drawn = torch.stack([noise(step, std=0.075, seed=seed) for step in range(500) for seed in range(2)])
    assert drawn.unique(dim=0).shape == drawn.shape
    assert drawn.std().item() == pytest.approx(0.075, rel=0.05)


def test_validation_and_a_step_that_is_left_out_leave_no_noise(tmp_path: Path) -> None:
    module, _ = fit(tmp_path, WeightNoise(0.5, seed=7), epochs=1, left_out=2)
    assert_close(module.validated, [loop(2)[-1]], rtol=0, atol=1e-12)
    assert_close(module.weight.detach(), loop(2)[-1], rtol=0, atol=1e-12)


class SavedWithin(pl.Callback):
    """Saves a checkpoint in the middle of the second step, as a loss that is not finite does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_before_backward(self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor) -> None:
        if trainer.global_step == 1:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("average_first", [True, False])
def test_a_checkpoint_within_a_step_has_the_weights_without_noise(tmp_path: Path, average_first: bool) -> None:
    both = [MovingAverage(decay=0.8), WeightNoise(0.5, seed=7)]
    fit(tmp_path, *both[:: 1 if average_first else -1], SavedWithin(tmp_path / "within.ckpt"))
    saved = torch.load(tmp_path / "within.ckpt", weights_only=True)
    weights = loop(1)
    assert_close(saved["current_model_state"]["weight"], weights[1], rtol=0, atol=1e-12)
    assert_close(saved["state_dict"]["weight"], weights[1], rtol=0, atol=1e-12)  # the average of one


def test_a_step_that_fails_leaves_no_noise(tmp_path: Path) -> None:
    class Failing(pl.Callback):
        def on_before_backward(self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor) -> None:
            self.module = module
            raise InputError("stop")

    failing = Failing()
    with pytest.raises(InputError, match="stop"):
        fit(tmp_path, WeightNoise(0.5, seed=7), failing)
    assert torch.equal(failing.module.weight.detach(), START)


def test_a_resumed_run_draws_the_same_noise(tmp_path: Path) -> None:
    class Saved(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "first.ckpt")

    whole, _ = fit(tmp_path, WeightNoise(0.5, seed=7), Saved())
    resumed, _ = fit(tmp_path, WeightNoise(0.5, seed=7), ckpt_path=tmp_path / "first.ckpt")
    assert torch.equal(whole.weight, resumed.weight)


def test_a_negative_deviation_is_refused() -> None:
    with pytest.raises(InputError, match="std=-1"):
        WeightNoise(-1)
