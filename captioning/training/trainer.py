"""Lightning's Trainer with the callbacks and loggers of a configuration."""

from __future__ import annotations

import logging
import warnings

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Checkpoint
from torch.utils import deterministic

from captioning.errors import InputError
from captioning.training.checkpoints import CheckpointFiles
from captioning.training.devices import check_processes
from captioning.training.loggers import build_loggers
from captioning.training.precision import precision_here


def build_trainer(config: DictConfig, *callbacks: pl.Callback) -> pl.Trainer:
    """Build the trainer with `callbacks` and with the configuration's callbacks and loggers.

    Raises:
        InputError: `trainer` names callbacks or loggers, which are groups of their own; or the processes cannot work
            together.
    """
    for group in ("callbacks", "logger"):
        if group in config.trainer:
            raise InputError(
                f"trainer.{group} is not used; choose it by the group {group}, such as +{group}.NAME._target_=CLASS"
            )
    quieten_lightning()
    leave_new_memory_as_it_is()
    own = [*callbacks, *(instantiate(c) for c in config.callbacks.values() if c)]
    trainer: pl.Trainer = instantiate(
        config.trainer,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in own),  # or Lightning adds its own
        precision=precision_here(config.trainer.precision, config.trainer.accelerator),
        plugins=[CheckpointFiles(), *map(instantiate, config.trainer.get("plugins") or [])],
        callbacks=own,
        logger=build_loggers(config.logger, config.output),
    )
    check_processes(trainer)
    return trainer


def leave_new_memory_as_it_is() -> None:
    """Do not let torch write NaN into each new tensor, as it does while its algorithms are deterministic.

    That would reveal reads of memory that was never written, and takes 2 to 3 % of a step on a CPU.
    """
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def quieten_lightning() -> None:
    """Hide Lightning's advertisements and its warnings about what is intended here. Keep other warnings and errors."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for harmless in (
        ".*treespec, LeafSpec.*",  # its own use of a deprecated part of torch
        ".*in eval mode at the start of training.*",  # a frozen encoder is
        ".*Checkpoint directory .* not empty.*",  # a run that resumes in its own folder
        ".*ended before the epoch ended and your dataloader is not resumable.*",  # the sampler leaves out what is done
        ".*Please add the following callbacks.*",  # an earlier version's, whose state is read
        ".*`training_step` returned `None`.*",  # a step that is left out is logged
        ".*does not have many workers.*",  # cached features are read fastest in this process
    ):
        warnings.filterwarnings("ignore", message=harmless)
