"""Moving averages of weights equal a loop."""

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
from captioning.training.averaging import MovingAverage
from captioning.training.trainer import quieten_lightning


class Drifting(pl.LightningModule):
    """A weight that drifts, a frozen one, and a buffer that counts.

    It keeps what the first is after each step and in each validation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.frozen = nn.Parameter(torch.linspace(0.1, 0.9, 100), requires_grad=False)
        self.after: list[Tensor] = []
        self.validated: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        if self.global_step:
            self.after.append(self.weight.detach().clone())
        self.count += 1
        return (self.weight * batch).sum() ** 2

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        self.validated.append(self.weight.detach().clone())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


DATA = torch.linspace(-1, 1, 6, dtype=torch.float64).view(3, 2)


def fit(
    folder: Path, epochs: int, *callbacks: pl.Callback, ckpt_path: Path | None = None
) -> tuple[Drifting, pl.Trainer]:
    quieten_lightning()
    module = Drifting()
    trainer = pl.Trainer(
        default_root_dir=folder, max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[MovingAverage(decay=0.8), *callbacks],
    )  # fmt: skip
    loaders = {"train_dataloaders": DataLoader(DATA, batch_size=None), "val_dataloaders": DataLoader(DATA[:1])}
    trainer.fit(module, **loaders, ckpt_path=ckpt_path, weights_only=True)
    return module, trainer


def loop(weights: list[Tensor]) -> Tensor:
    average = weights[0]
    for weight in weights[1:]:
        average = 0.8 * average + 0.2 * weight
    return average


def plain_steps(count: int) -> list[Tensor]:
    weight, found = torch.tensor([1.0, -2.0], dtype=torch.float64), []
    for step in range(count):
        batch = DATA[step % 3]
        weight = weight - 0.1 * 2 * (weight * batch).sum() * batch
        found.append(weight)
    return found


def test_the_average_equals_a_loop_and_training_goes_on_from_the_latest_weights(tmp_path: Path) -> None:
    module, _ = fit(tmp_path, 2)
    steps = plain_steps(6)
    assert_close(module.after, steps[:5], rtol=0, atol=1e-12)
    assert_close(module.validated, [loop(steps[:3]), loop(steps)], rtol=0, atol=1e-12)
    assert_close(module.weight.detach(), loop(steps), rtol=0, atol=1e-12)
    assert int(module.count) == 6  # a buffer is the latest one


def test_weights_that_do_not_change_stay_the_same_bit_by_bit(tmp_path: Path) -> None:
    """Or cached features would no longer be those of the run's frozen encoder."""
    module, _ = fit(tmp_path, 4)
    assert module.frozen.equal(Drifting().frozen)


def test_what_is_validated_after_training_is_what_the_module_holds(tmp_path: Path) -> None:
    module, trainer = fit(tmp_path, 1)
    with torch.no_grad():
        module.weight.fill_(7.0)  # as the best epoch's weights are loaded
    trainer.validate(module, dataloaders=DataLoader(torch.ones(1, 2, dtype=torch.float64)), verbose=False)
    assert module.validated[-1].tolist() == module.weight.tolist() == [7.0, 7.0]


def test_a_resumed_average_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path, 3)
    _, trainer = fit(tmp_path, 1)
    trainer.save_checkpoint(tmp_path / "after.ckpt")  # after training, only the average is left
    saved = torch.load(tmp_path / "after.ckpt", weights_only=True)["state_dict"]
    assert set(saved) == {"weight", "count", "frozen"}

    class Save(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    fit(tmp_path, 1, Save())
    saved = torch.load(tmp_path / "0.ckpt", weights_only=True)
    assert_close(saved["state_dict"]["weight"], loop(plain_steps(3)), rtol=0, atol=1e-12)
    resumed, _ = fit(tmp_path, 3, ckpt_path=tmp_path / "0.ckpt")
    assert torch.equal(resumed.weight, whole.weight)


def test_a_checkpoint_within_a_validation_holds_both_weights_in_their_places(tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []

    class Save(pl.Callback):
        def on_validation_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
            trainer.save_checkpoint(tmp_path / "within.ckpt")
            found.append(torch.load(tmp_path / "within.ckpt", weights_only=True))

    fit(tmp_path, 1, Save())
    steps = plain_steps(3)
    assert_close(found[0]["state_dict"]["weight"], loop(steps), rtol=0, atol=1e-12)
    assert_close(found[0]["current_model_state"]["weight"], steps[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(InputError, match=rf"decay={decay} must be in 0\.\.1"):
        MovingAverage(decay=decay)
