"""What a run does when a loss or its gradient is not finite: it stops before the step, or leaves it out."""

from __future__ import annotations

import logging

import pytorch_lightning as pl
from torch import Tensor, nn

from captioning.data.batch import CaptionBatch
from captioning.encoders.processes import several_processes, sum_over_processes
from captioning.errors import InputError, shown
from captioning.training.saving import Checkpoints, may_save

log = logging.getLogger(__name__)

STOP, SKIP = "stop", "skip"
_MOST_IDS = 20
"""Image ids in a message."""


class NotFinite:
    """Checks each step's loss and gradient.

    Args:
        action: "stop" ends the run in the state before the step, in which `last.ckpt` is saved. So a resumed run
            repeats the step. "skip" leaves the step out, and counts.

    Attributes:
        num_skipped: the steps that were left out.

    Raises:
        InputError: `action` is neither.
    """

    def __init__(self, action: str = STOP) -> None:
        if action not in (STOP, SKIP):
            raise InputError(f"not_finite={shown(action)}: expected {STOP} or {SKIP}")
        self.action, self.num_skipped = action, 0
        self._images: tuple[int | str, ...] = ()
        self._buffers: list[tuple[Tensor, Tensor]] = []

    def begin(self, batch: CaptionBatch, *modules: nn.Module) -> None:
        """Remember what a step changes before its loss is known.

        Args:
            batch: of the step.
            modules: those whose buffers the step may change, such as a baseline.
        """
        self._images = batch.image_ids
        self._buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]

    def passes(self, module: pl.LightningModule, what: str, value: Tensor) -> bool:
        """Check a value of the step; the processes decide alike.

        Args:
            module: what is trained.
            what: names the value in a message.
            value: a scalar.

        Returns:
            Whether it is finite. If not, the step is to be left out.

        Raises:
            InputError: it is not finite, and the run stops. The message names the step and the images.
        """
        if not _anywhere(~value.isfinite()):
            return True
        trainer = module.trainer
        for buffer, before in self._buffers:
            buffer.copy_(before)
        images = ", ".join(shown(image_id, 40) for image_id in self._images[:_MOST_IDS])
        more = f" and {len(self._images) - _MOST_IDS} more" if len(self._images) > _MOST_IDS else ""
        found = (
            f"epoch {trainer.current_epoch}, step {trainer.global_step}: the {what} is {float(value)}, with the images "
            f"{images}{more}"
        )
        if self.action == STOP:
            raise InputError(
                f"{found}. {_save(trainer)} A lower optimizer.lr, a lower trainer.gradient_clip_val or "
                f"trainer.precision=32-true may help; not_finite={SKIP} leaves such steps out"
            )
        self.num_skipped += 1
        log.warning("%s; the step is left out, the %d. so far", found, self.num_skipped)
        return False


def _anywhere(found: Tensor) -> bool:
    """Return whether it holds in any process."""
    return bool(sum_over_processes(found.float()) if several_processes() else found)


def _save(trainer: pl.Trainer) -> str:
    """Save the state before the step where a run can resume from it, and say what resuming does."""
    module = trainer.lightning_module
    if not all(weight.isfinite().all() for weight in module.parameters()):
        return "Weights are not finite either; resume=auto goes back to the last state that was saved."
    if may_save(trainer, trainer.fit_loop.epoch_loop.batch_idx):
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, Checkpoints):
                callback.save_between_steps(trainer)
    return "resume=auto goes on from the state before it, and repeats this step."
