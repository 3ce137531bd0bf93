"""What a run resumes from, which changed settings it takes over, and which it refuses."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, Timer
from torch import Tensor, tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from captioning.errors import InputError, described
from captioning.json_files import flat, read_json, typed
from captioning.model.checkpoint import SavedModel, read_checkpoint
from captioning.training.module import TrainingModule
from captioning.training.saving import LAST
from captioning.training.states import check_like, check_optimizer, check_schedules

log = logging.getLogger(__name__)

AUTO = "auto"

_ORDER = (
    "data.batch_size", "data.captions_per_image", "data.pool", "data.max_length", "data.seed",
    "trainer.accumulate_grad_batches", "trainer.limit_train_batches", "processes",
)  # fmt: skip
"""Settings that decide which images a step of an epoch trains."""

_OF_SCHEDULES = ("lr", "initial_lr", "params")
"""Keys of an optimizer's groups that are no plain settings."""

_LOADED = ("learning_rates", "metrics", "settings", "optimizer_states", "lr_schedulers")
"""Keys of a checkpoint that are needed when training begins."""


def resumes_by_itself(config: DictConfig) -> bool:
    """Return whether the run resumes whatever its folder holds, as a job does that SLURM has started again."""
    return config.get("resume") == AUTO or int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def start_of(config: DictConfig, output: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the checkpoint from which a run resumes, and its content; None if the run starts anew.

    Raises:
        InputError: the named checkpoint cannot be read, or none of the folder can.
    """
    found = sorted((output / "checkpoints").glob("*.ckpt"), key=lambda path: (path.name == LAST, path.stat().st_mtime))
    if resumes_by_itself(config) and found:
        for path in reversed(found):
            try:
                return path, _read(path)
            except InputError as error:
                log.warning("%s", error)
        raise InputError(f"no checkpoint in {output / 'checkpoints'} can be read; start again in another folder")
    return None if config.checkpoint is None else (Path(config.checkpoint), _read(Path(config.checkpoint)))


def _read(path: Path) -> dict[str, Any]:
    saved = read_checkpoint(path)
    match saved:
        case {
            "loops": {"fit_loop": {"epoch_progress": {"current": dict()}, "epoch_loop.batch_progress": dict()}},
            "callbacks": dict(),
            "optimizer_states": [{"param_groups": list()}],
        }:
            typed(saved["captioning"], SavedModel, str(path))
            return saved
    raise InputError(
        f"{path} holds weights and no state of training, from which to resume; make a bundle of it instead"
    )


@contextmanager
def restoring(path: Path | None, has_begun: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Report whatever the content of a checkpoint causes, until training goes on from it, as one message.

    Args:
        path: the checkpoint; None if the run starts anew.
        has_begun: tells whether training goes on.

    Raises:
        InputError: the content is damaged, or of another kind.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if path is None or has_begun():
            raise
        raise InputError(
            f"{path} cannot be resumed from ({described(error)}); choose another of the run's checkpoints/"
        ) from error


def epochs_of(saved: Mapping[str, Any]) -> tuple[int, bool]:
    """Return how many epochs a checkpoint has trained, and whether the next one has begun."""
    progress = saved["loops"]["fit_loop"]["epoch_progress"]["current"]
    return progress["processed"], progress["ready"] > progress["processed"]


def is_trained(saved: Mapping[str, Any], config: DictConfig) -> bool:
    """Return whether a checkpoint has nothing left to train: all epochs are done, or early stopping ended them."""
    epochs, begun = epochs_of(saved)
    stopping = config.callbacks.get("early_stopping")
    states = [state for key, state in saved["callbacks"].items() if key.startswith("EarlyStopping")]
    return not begun and (
        epochs >= config.trainer.max_epochs
        or (stopping is not None and any(_has_stopped(state, stopping.get("patience", 3)) for state in states))
    )


def is_finished(saved: Mapping[str, Any], config: DictConfig, output: Path) -> bool:
    """Return whether the folder holds the results of a checkpoint that has nothing left to train."""
    if not is_trained(saved, config) or not (output / "bundle").is_dir():
        return False
    cost = output / "training.json"
    steps = read_json(cost).get("steps") if cost.is_file() else None
    return steps in (None, saved["global_step"])  # earlier versions did not write it


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Return the settings that a checkpoint remembers, by their dotted keys."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    parts = {
        key: plain.get(key) or {} for key in ("objective", "optimizer", "schedule", "finetuning", "data", "trainer")
    }
    return flat(parts)


def check_resumable(saved: Mapping[str, Any], config: DictConfig) -> None:
    """Check that every changed setting can be taken over.

    Raises:
        InputError: the objective, the optimizer or the schedule is another one, `trainer.max_epochs` is too low, or the
            checkpoint is of the middle of an epoch and the order of its batches would differ. The message names the
            setting.
    """
    epochs, begun = epochs_of(saved)
    if config.trainer.max_epochs < epochs + begun:
        raise InputError(
            f"trainer.max_epochs={config.trainer.max_epochs}: the checkpoint is of epoch {epochs + begun}; set "
            f"trainer.max_epochs={epochs + begun} or more"
        )
    before, now = saved.get("settings"), settings_of(config)
    if before is None:
        return  # of an earlier version
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key) and key != "processes"]
    for key in changed:
        if key in ("objective._target_", "optimizer._target_", "schedule._target_"):
            _refuse(key, before, now, "start a new run without checkpoint= and resume=")
        if begun and key in _ORDER:
            _refuse(key, before, now, "resume from an epoch's end, in checkpoints/epoch_N.ckpt")
    for key in changed:
        if key.partition(".")[0] != "trainer" or key in _ORDER:
            log.info("resumed with %s=%s, which was %s", key, now.get(key), before.get(key))


def check_weights(saved: Mapping[str, Any], module: TrainingModule) -> None:
    """Check that the checkpoint's optimizer and objective have the run's weights.

    Raises:
        InputError: the encoder was frozen and is trained now, or the reverse; or the objective learns other weights.
    """
    if len(saved["optimizer_states"][0]["param_groups"]) != (1 if module.finetuning is None else 2):
        raise InputError(
            "finetuning: the checkpoint's optimizer has other parameters; resume with the run's own finetuning=, or "
            "start a new run. finetuning.from_epoch=N trains the encoder from epoch N on"
        )
    there, here = (
        {key: value.shape for key, value in weights.items() if key.startswith("objective.")}
        for weights in (saved["state_dict"], module.state_dict())
    )
    if there != here:
        key = next(key for key in {**there, **here} if there.get(key) != here.get(key))
        raise InputError(
            f"objective: the checkpoint is of an objective with other weights ({key}); resume with the run's own "
            "objective=, or start a new run"
        )


class Resuming(pl.Callback):
    """Keep settings in checkpoints, and take over those that have changed since a checkpoint was written.

    Args:
        settings: those of this run, by their dotted keys.

    Attributes:
        has_begun: whether everything is restored, and training begins.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings, self.has_begun = settings, False
        self._rates: list[float] | None = None
        self._loaded: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the settings, the learning rates before any schedule, and the last validation's scores."""
        checkpoint["settings"] = {**self.settings, "processes": trainer.world_size}
        checkpoint["learning_rates"] = self._rates
        checkpoint["metrics"] = {
            name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")
        }

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take over early stopping's settings, and train nothing if it has stopped the run."""
        self._loaded = {key: checkpoint.get(key) for key in _LOADED}
        epochs, begun = epochs_of(checkpoint)
        self._loaded["ended"] = not begun
        loops = checkpoint["loops"]["fit_loop"]
        fresh = {key: value for key, value in trainer.fit_loop.state_dict().items() if key in loops}
        check_like(trainer.ckpt_path, loops, fresh, "loops.fit_loop")
        batches = loops["epoch_loop.batch_progress"]["current"]["processed"]
        cast(Any, trainer).datamodule.resume(epochs, batches if begun else 0)
        for callback in cast(Any, trainer).callbacks:
            state = checkpoint["callbacks"].get(callback.state_key)
            if isinstance(callback, Timer) and state is not None:
                check_like(trainer.ckpt_path, state, {"time_elapsed": {"train": 0.0}}, "callbacks.Timer")
            if isinstance(callback, EarlyStopping) and state is not None:
                fresh = {key: getattr(callback, key) for key in ("best_score", "stopped_epoch", "wait_count")}
                check_like(trainer.ckpt_path, state, fresh, "callbacks.EarlyStopping")
                trainer.should_stop |= not begun and _has_stopped(state, callback.patience)
                state["patience"] = callback.patience
        processes = (self._loaded["settings"] or {}).get("processes")
        if begun and processes not in (None, trainer.world_size):
            raise InputError(
                f"the checkpoint is of the middle of an epoch, by {processes} processes (here {trainer.world_size}); "
                f"finish the epoch with trainer.devices={processes}, or resume from checkpoints/epoch_N.ckpt"
            )

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Give the loaded optimizer this run's settings."""
        (optimizer,) = trainer.optimizers
        if self._loaded is None:
            self._rates = [_rate(group) for group in optimizer.param_groups]
        else:
            self._give_settings(trainer, module, optimizer)
        self.has_begun = True

    def _give_settings(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Any) -> None:
        assert self._loaded is not None
        made: Any = module.configure_optimizers()
        if not isinstance(made, dict):
            made = {"optimizer": made}
        schedules = [made["lr_scheduler"]["scheduler"]] if "lr_scheduler" in made else []
        self._check(trainer, made["optimizer"], schedules)
        wanted = made["optimizer"].param_groups
        on_plateau = any(config.reduce_on_plateau for config in trainer.lr_scheduler_configs)
        loaded = [_rate(group) for group in (wanted if on_plateau else optimizer.param_groups)]
        before = self._loaded["learning_rates"] or loaded
        self._rates = [_rate(group) for group in wanted]
        for n, (group, new) in enumerate(zip(optimizer.param_groups, wanted, strict=True)):
            _change_rate(trainer, n, group, before[n], self._rates[n])
            for key in new.keys() - set(_OF_SCHEDULES) - _cycled(trainer):
                group[key] = new[key]
        self._change_schedules(trainer, schedules)
        self._step_plateau(trainer)

    def _check(self, trainer: pl.Trainer, optimizer: Optimizer, schedules: Sequence[LRScheduler]) -> None:
        """Check the loaded states against those of a fresh optimizer and its schedules."""
        assert self._loaded is not None
        (state,), others = self._loaded.pop("optimizer_states"), self._loaded.pop("lr_schedulers")
        check_optimizer(trainer.ckpt_path, state, optimizer, {*_OF_SCHEDULES, *_cycled(trainer)})
        check_schedules(trainer.ckpt_path, others, schedules, self._settings_of_schedule())

    def _settings_of_schedule(self) -> set[str]:
        return {key.removeprefix("schedule.") for key in self.settings if key.startswith("schedule.")}

    def _change_schedules(self, trainer: pl.Trainer, schedules: Sequence[LRScheduler]) -> None:
        """Give the schedule this run's settings. It was loaded with those of the checkpoint."""
        for config, fresh in zip(trainer.lr_scheduler_configs, schedules, strict=True):
            for name in vars(fresh).keys() & self._settings_of_schedule():
                setattr(config.scheduler, name, getattr(fresh, name))

    def _step_plateau(self, trainer: pl.Trainer) -> None:
        """Restore the scores that ReduceLROnPlateau watches, and take the step that it takes at an epoch's end.

        Lightning writes the checkpoints of an epoch's end before this step.
        """
        assert self._loaded is not None
        metrics: dict[str, Tensor] = {name: tensor(value) for name, value in (self._loaded["metrics"] or {}).items()}
        trainer.callback_metrics.update(metrics)
        for config in trainer.lr_scheduler_configs:
            if config.reduce_on_plateau and self._loaded["ended"] and config.monitor in metrics:
                cast(Any, config.scheduler).step(metrics[config.monitor])


def _has_stopped(state: Mapping[str, Any], patience: int) -> bool:
    """Return whether early stopping has ended a run: it ran out of patience, or stopped for another reason."""
    if state["wait_count"] >= state["patience"]:
        return bool(state["wait_count"] >= patience)
    return bool(state["wait_count"] >= patience or state["stopped_epoch"])


def _refuse(key: str, before: Mapping[str, Any], now: Mapping[str, Any], advice: str) -> None:
    raise InputError(
        f"{key}={now.get(key)}: the checkpoint is of a run with {key}={before.get(key)}, and resuming cannot change "
        f"it; set it back, or {advice}"
    )


def _rate(group: Mapping[str, Any]) -> float:
    """Return a group's learning rate before any schedule."""
    return float(group.get("initial_lr", group["lr"]))


def _change_rate(trainer: pl.Trainer, n: int, group: dict[str, Any], before: float, now: float) -> None:
    """Scale a group's learning rate, and its schedule's, from one initial rate to another."""
    if before == now:
        return
    log.info("learning rate %g from now on, before any schedule, which was %g", now, before)
    group["lr"] = group["lr"] * now / before if before else now
    if "initial_lr" in group:
        group["initial_lr"] = now
    for config in trainer.lr_scheduler_configs:
        scheduler: Any = config.scheduler
        for name, value in (("base_lrs", now), ("_last_lr", group["lr"])):
            if hasattr(scheduler, name):
                getattr(scheduler, name)[n] = value


def _cycled(trainer: pl.Trainer) -> set[str]:
    """Return the keys of an optimizer's groups that the run's schedule changes beside the learning rate."""
    cycles = any(isinstance(config.scheduler, OneCycleLR | CyclicLR) for config in trainer.lr_scheduler_configs)
    return {"betas", "momentum"} if cycles else set()
