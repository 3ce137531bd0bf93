"""Signals end training at a point from which it resumes."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import threading
import time
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.trainer.states import TrainerFn

from captioning.errors import Stopped
from captioning.training.saving import Checkpoints, highest, may_save

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals(pl.Callback):
    """Save and stop when a signal asks for it: SIGTERM, SIGINT (Ctrl-C), SIGHUP, and SIGUSR1, the one of SLURM.

    Training finishes its step, or stops its validation, and writes `last.ckpt`. A second signal ends it at once. In a
    job of SLURM, SIGUSR1 also puts the job back into the queue. Lightning's own handlers are replaced: they save in
    the middle of a step, wait for other processes inside the handler, and end with status 0.
    """

    def __init__(self) -> None:
        self._received, self._received_at = 0, 0.0
        self._is_saved = False
        self._before: dict[int, Any] = {}

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Remember the command's handlers, before Lightning sets its own."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Only note signals from now on, until training ends and Lightning puts back the command's handlers."""
        process = os.getpid()

        def note(number: int, _: FrameType | None) -> None:
            if os.getpid() != process:
                return
            if self._received and time.monotonic() - self._received_at > 1:  # sooner, it is the same one again
                raise Stopped(number)
            self._received, self._received_at = self._received or number, time.monotonic()

        heeded = [number for number, handler in self._before.items() if handler != signal.SIG_IGN]
        for number in [*heeded, _requeue_signal(trainer)] if self._before else []:
            signal.signal(number, note)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Leave signals to the command where nothing is trained."""
        if trainer.state.fn != TrainerFn.FITTING:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_index: int
    ) -> None:
        """Stop between two steps, or before an epoch's first one, when the last epoch's end has been saved."""
        at_start = batch_index == 0
        if (at_start or may_save(trainer, batch_index)) and (number := highest(trainer, self._received)):
            for callback in [] if at_start else _checkpoints(trainer):
                callback.save_between_steps(trainer)
            self._stop(trainer, number)

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        batch: Any,
        batch_index: int,
        dataloader_index: int = 0,
    ) -> None:
        """Stop within a validation of training, which runs again when training resumes."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if number := highest(trainer, self._received):
            for callback in _checkpoints(trainer):
                callback.save_before_validation(trainer)
            self._stop(trainer, number)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stop before the evaluation if a signal came in the last moments of training."""
        if number := highest(trainer, self._received):
            self._stop(trainer, number)

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """End the other processes, which would wait for this one."""
        launcher = trainer.strategy.launcher
        if isinstance(exception, Stopped) and not self._is_saved and launcher is not None:
            launcher.kill(signal.SIGKILL)

    def _stop(self, trainer: pl.Trainer, number: int) -> None:
        self._is_saved = True
        if number == _requeue_signal(trainer) and SLURMEnvironment.detect() and trainer.is_global_zero:
            _requeue()
        steps = f"epoch {trainer.current_epoch}, after {trainer.global_step} steps"
        raise Stopped(number, f" in {steps}")


def _checkpoints(trainer: pl.Trainer) -> list[Checkpoints]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, Checkpoints)]


def _requeue_signal(trainer: pl.Trainer) -> int:
    environment = trainer._accelerator_connector.cluster_environment
    chosen = environment.requeue_signal if isinstance(environment, SLURMEnvironment) else None
    return chosen or signal.SIGUSR1


def _requeue() -> None:
    """Put this job of SLURM back into the queue, as Lightning does."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else os.environ.get("SLURM_JOB_ID", "")
    if not re.fullmatch(r"[0-9_-]+", job):
        log.warning("the job cannot be put back into the queue: SLURM_JOB_ID=%r", job[:80])
        return
    try:
        status = subprocess.run(["scontrol", "requeue", job], check=False).returncode
    except OSError as error:
        log.warning("job %s cannot be put back into the queue: %s", job, error)
        return
    (log.warning if status else log.info)("scontrol requeue %s: exit status %d", job, status)
