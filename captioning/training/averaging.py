"""Moving averages of weights during training."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from captioning.errors import InputError


class MovingAverage(WeightAveraging):
    """Validate and keep an exponential moving average of the weights, while training goes on from the latest ones.

        a_i = decay a_{i-1} + (1 - decay) w_i,   a_1 = w_1

    w_i are the weights after step i, those of the objective included. Weights that do not change, such as a frozen
    encoder's, stay the same bit by bit. Buffers are those of the latest step. The average is Lightning's. This class
    keeps both weights right where Lightning would exchange them: in a checkpoint that is saved while validation runs,
    and in a validation after training.

    Args:
        decay: in 0..1; the average is over about the last 1 / (1 - decay) steps.

    Raises:
        InputError: `decay` is not in 0..1.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay <= 1:
            raise InputError(f"decay={decay} must be in 0..1")
        # Lightning's own choice of this average rounds anew in each step: equal weights would drift.
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        self._validating = False

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Give the module the average."""
        super().on_validation_epoch_start(trainer, module)
        self._validating = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Give the module the latest weights."""
        super().on_validation_epoch_end(trainer, module)
        self._validating = False

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Give the module the average for good."""
        super().on_train_end(trainer, module)
        self._average_model = None  # what is validated from now on is what the module holds

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average as the checkpoint's weights, and the latest ones beside it."""
        super().on_save_checkpoint(trainer, module, checkpoint)
        if self._validating and self._average_model is not None:
            average, latest = "state_dict", "current_model_state"
            checkpoint[average], checkpoint[latest] = checkpoint[latest], checkpoint[average]
