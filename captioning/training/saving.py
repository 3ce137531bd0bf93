"""When a run writes checkpoints: the best epoch, and where to resume."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn
from torch import distributed

from captioning.training.checkpoints import write_with_digest

log = logging.getLogger(__name__)

LAST = "last.ckpt"


class Checkpoints(Checkpoint):
    """Keep the best checkpoints, and the last state of training, from which it resumes bit for bit.

    `last.ckpt` is written after each epoch, every `every_minutes` between two steps of an epoch, and when a signal
    ends training. `epoch_N.ckpt` is written after a validation whose score is among the best; a superseded one is
    removed after `last.ckpt` no longer names it. Files are named relative to the folder, which can be moved.

    Args:
        dirpath: the folder of the checkpoints.
        monitor: the logged score by which the best is chosen.
        mode: "max" if higher is better, else "min".
        tie_breaker: the logged value by which equal scores are ordered, the lowest first; then the earliest is first.
        save_top_k: the number of best checkpoints that are kept; -1 for all.
        every_minutes: minutes between two states within an epoch; None for no states within an epoch.
    """

    def __init__(
        self,
        dirpath: str | Path,
        *,
        monitor: str,
        mode: str = "max",
        tie_breaker: str = "val/perplexity",
        save_top_k: int = 1,
        every_minutes: float | None = 10.0,
    ) -> None:
        self.folder = Path(dirpath)
        self.monitor, self.mode, self.tie_breaker = monitor, mode, tie_breaker
        self.save_top_k, self.every_minutes = save_top_k, every_minutes
        self.best: list[dict[str, Any]] = []
        self._has_validated = False
        self._saved_at = 0.0
        self._correct: Callable[[dict[str, Any]], None] | None = None

    @property
    def best_model_path(self) -> str:
        """The best checkpoint; empty if there is none."""
        return str(self.folder / self.best[0]["file"]) if self.best else ""

    # ---- when ------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start to count the minutes."""
        self._saved_at = time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_index: int
    ) -> None:
        """Save between two steps if the minutes have passed."""
        if self.every_minutes is None or not may_save(trainer, batch_index):
            return
        if highest(trainer, time.monotonic() - self._saved_at >= 60 * self.every_minutes):
            self.save_between_steps(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save after a validation within an epoch. After the one at its end, save when the epoch has ended."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._has_validated = True
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save(trainer, name=f"epoch_{trainer.current_epoch}_step_{trainer.global_step}.ckpt")

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save after each epoch."""
        trainer.fit_loop._restarting = False  # or Lightning would leave out ReduceLROnPlateau's step
        self._save(trainer, name=f"epoch_{trainer.current_epoch}.ckpt")

    # ---- what ------------------------------------------------------------------------------------------------

    def save_between_steps(self, trainer: pl.Trainer) -> None:
        """Save the state between two steps; called before the second one changes a weight."""
        self._save_last(trainer, correct=partial(_before_step, trainer))

    def save_before_validation(self, trainer: pl.Trainer) -> None:
        """Save the state from which the validation that is running would run again from its start."""
        self._save_last(trainer, correct=_before_validation)

    def _save(self, trainer: pl.Trainer, *, name: str) -> None:
        superseded = self._save_best(trainer, name) if self._has_validated else []
        self._has_validated = False
        self._save_last(trainer)
        resumed = None if trainer.ckpt_path is None else Path(trainer.ckpt_path).resolve()
        for path in superseded:
            if path.resolve() != resumed:
                trainer.strategy.remove_checkpoint(path)

    def _save_best(self, trainer: pl.Trainer, name: str) -> list[Path]:
        """Save the checkpoint if it is among the best. Return those that it supersedes."""
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            log.warning("%s was not logged, so that this epoch cannot be the best", self.monitor)
            return []
        tie = metrics.get(self.tie_breaker, torch.tensor(math.inf))
        found = {"file": name, "score": float(metrics[self.monitor]), "tie": float(tie)}
        ranked = sorted((*(other for other in self.best if other["file"] != name), found), key=self._rank)
        kept = ranked if self.save_top_k < 0 else ranked[: self.save_top_k]
        if found not in kept:
            return []
        self.best = kept
        trainer.save_checkpoint(self.folder / name, weights_only=False)
        return [self.folder / other["file"] for other in ranked if other not in kept]

    def _rank(self, kept: Mapping[str, Any]) -> tuple[float, float]:
        """Order the best first. Not a number is the worst."""
        score = -kept["score"] if self.mode == "max" else kept["score"]
        return (math.inf if math.isnan(score) else score, math.inf if math.isnan(kept["tie"]) else kept["tie"])

    def _save_last(self, trainer: pl.Trainer, *, correct: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._correct = correct
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)
        self._correct = None
        self._saved_at = time.monotonic()

    # ---- state -----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the best checkpoints: file names and scores."""
        return {"monitor": self.monitor, "best": [dict(kept) for kept in self.best]}

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Correct Lightning's counts, which do not describe a state between steps."""
        if self._correct is not None:
            self._correct(checkpoint["loops"]["fit_loop"])

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Find the best checkpoints beside the one that is loaded. Those of another folder are copied to this one."""
        state = checkpoint["callbacks"].get(self.state_key) or _state_of_lightning(checkpoint["callbacks"])
        if state is None or trainer.ckpt_path is None:
            return
        if state["monitor"] != self.monitor:
            log.warning(
                "the best epoch is chosen by %s from now on; earlier ones had %s", self.monitor, state["monitor"]
            )
            return
        there = Path(trainer.ckpt_path).parent
        for kept in state["best"]:
            name = Path(kept["file"]).name
            if not (there / name).is_file():
                log.warning("%s is missing, so that the best is chosen among later epochs", there / name)
                continue
            self.best.append({"file": name, "score": float(kept["score"]), "tie": float(kept["tie"])})
            if trainer.is_global_zero and there.resolve() != self.folder.resolve():
                self.folder.mkdir(parents=True, exist_ok=True)
                write_with_digest(self.folder / name, partial(shutil.copyfile, there / name))


def may_save(trainer: pl.Trainer, batch_index: int) -> bool:
    """Return whether a step has just been taken in this epoch; accumulated gradients are not saved."""
    return batch_index > 0 and batch_index % trainer.accumulate_grad_batches == 0


def highest(trainer: pl.Trainer, value: int) -> int:
    """Return the highest of all processes' values, so that they decide alike."""
    if trainer.world_size == 1:
        return value
    values = torch.tensor(int(value), device=trainer.strategy.root_device)
    distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return int(values)


def _before_step(trainer: pl.Trainer, loop: dict[str, Any]) -> None:
    """Undo the counts of the next batch, which Lightning has already fetched, and may have begun."""
    progress = loop["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        counts["ready"] = counts["started"] = counts["completed"]
    progress["is_last_batch"] = False
    epoch_loop, done = trainer.fit_loop.epoch_loop, progress["current"]["completed"]
    if epoch_loop._should_check_val_epoch() and done % trainer.val_check_batch == 0:
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1  # Lightning adds it again on resuming here


def _before_validation(loop: dict[str, Any]) -> None:
    """Let validation count as begun, with no batch done; otherwise Lightning would leave it out."""
    counts = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    loop["epoch_loop.val_loop.batch_progress"] = {
        "total": dict(counts),
        "current": dict(counts),
        "is_last_batch": False,
    }


def _state_of_lightning(callbacks: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the state that earlier versions wrote by Lightning's ModelCheckpoint."""
    for key, state in callbacks.items():
        if key.startswith("ModelCheckpoint") and state["monitor"] is not None and state["best_model_path"]:
            score = float(state["best_model_score"])
            return {
                "monitor": state["monitor"],
                "best": [{"file": Path(state["best_model_path"]).name, "score": score, "tie": math.inf}],
            }
    return None
