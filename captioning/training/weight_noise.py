"""Weight noise during training.

Sources: Jim, Giles, Horne 1996, "An analysis of noise in recurrent neural networks"; Graves 2013 (arXiv:1308.0850),
section 3.1. With L for the loss of step i, and ε drawn anew for each step:

    w_{i+1} = w_i - η ∇L(w_i + ε_i),        ε_i ~ N(0, σ²)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from captioning.errors import InputError
from captioning.seeds import seed_of

_STREAM = 1308_0850
"""Separates these draws from others of the same seed and step."""


class WeightNoise(pl.Callback):
    """Compute each step's gradient at weights with Gaussian noise, and change the weights without it.

    Noise is on every weight that is trained, biases and embeddings included. It is there from the start of a batch
    until its gradient is known. Validation, checkpoints and bundles have the weights without noise. A resumed run
    draws the same noise.

    Differs: Graves draws noise for each sequence, here the sequences of a batch share it. He adds it to a network that
    was trained without it; use `start=RUN` for that.

    Args:
        std: σ; 0.075 in the paper.
        seed: of the draws, with the number of the step.

    Raises:
        InputError: `std` is negative.
    """

    def __init__(self, std: float = 0.075, seed: int = 0) -> None:
        if std < 0:
            raise InputError(f"std={std} must be at least 0")
        self.std, self.seed = std, seed
        self._clean: list[tuple[nn.Parameter, Tensor]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Add noise to the weights."""
        drawn = seed_of(_STREAM, self.seed, trainer.global_step, trainer.global_rank)
        generator = torch.Generator().manual_seed(drawn)
        self._clean = [(weight, weight.detach().clone()) for weight in _trained(module)]
        with torch.no_grad():
            for weight, _ in self._clean:
                noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                weight.add_(noise.to(weight), alpha=self.std)

    def on_after_backward(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Remove the noise."""
        self._remove()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remove the noise of a step that was left out, which has no gradient."""
        self._remove()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Remove the noise of a step that failed."""
        self._remove()

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the weights without noise, also in a checkpoint that is written within a step."""
        clean = {weight.data_ptr(): own for weight, own in self._clean}
        for states in ("state_dict", "current_model_state"):  # a moving average keeps the weights in the second
            for name, value in checkpoint.get(states, {}).items():
                checkpoint[states][name] = clean.get(value.data_ptr(), value)

    def _remove(self) -> None:
        with torch.no_grad():
            for weight, own in self._clean:
                weight.copy_(own)
        self._clean = []


def _trained(module: nn.Module) -> Iterator[nn.Parameter]:
    return (weight for weight in module.parameters() if weight.requires_grad)
