"""One training run: train, evaluate the best checkpoint, write the bundle."""

from __future__ import annotations

import logging
import math
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Timer
from torch import nn

from captioning.data.module import CaptionDataModule
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.files.atomic import remove_unfinished
from captioning.files.lock import locked
from captioning.metrics import signature_line
from captioning.model.checkpoint import model_weights, read_checkpoint
from captioning.model.image_model import ImageModel
from captioning.modes import evaluating
from captioning.objectives import PolicyGradient
from captioning.reports.runs import read_scores
from captioning.training.assemble import assemble, prepare
from captioning.training.checks import RESUME_OR_ANOTHER, check_data, check_output, check_run
from captioning.training.loggers import log_settings
from captioning.training.phases import phases
from captioning.training.ranges import check_settings
from captioning.training.resuming import (
    Resuming,
    check_resumable,
    check_weights,
    is_finished,
    is_trained,
    restoring,
    resumes_by_itself,
    settings_of,
    start_of,
)
from captioning.training.signals import Signals
from captioning.training.starting import Start
from captioning.training.trainer import build_trainer

log = logging.getLogger(__name__)


def train(config: DictConfig, output: Path) -> float:
    """Train in one phase or several, evaluate the best checkpoint of each, and write its bundle, all into `output`.

    Returns:
        The monitored score of the best checkpoint of the last phase, for sweepers that search for good settings.

    Raises:
        InputError: `output` holds another run or is being written, a setting in `config` is invalid, or it cannot be
            changed when the run resumes.
        Stopped: a signal ended the run. It can be resumed.
    """
    check_folders(config, output)
    parts = phases(config, output)
    for settings, _ in parts[1:]:  # what a later phase refuses is found before the first one trains
        check_settings(settings)
        assemble(settings)
    for number, (settings, folder) in enumerate(parts, start=1):
        if len(parts) > 1:
            log.info("phase %d of %d: %s", number, len(parts), folder)
        score = train_phase(settings, folder)
    return score


def check_folders(config: DictConfig, output: Path) -> None:
    """Check that no phase of this run would overwrite another run; see `check_output`."""
    *earlier, last = phases(config, output)
    check_output(*last)
    for settings, folder in earlier:
        if any((folder / "checkpoints").glob("*.ckpt")) and not resumes_by_itself(config):
            raise InputError(f"{output} holds an interrupted run; {RESUME_OR_ANOTHER}")
        check_output(settings, folder)


def train_phase(config: DictConfig, output: Path) -> float:
    """Train one phase; see `train`."""
    with locked(output) if rank_zero_only.rank == 0 else nullcontext():  # type: ignore[attr-defined]
        resumed = start_of(config, output)
        if resumed is not None:
            with restoring(resumed[0]):
                check_resumable(resumed[1], config)
                finished = is_finished(resumed[1], config, output)
            if finished:
                log.info("nothing is left to train or to evaluate: %s", _extended(config))
                return _score(output, config.metrics.monitor)
        return _train(config, output, resumed)


def _score(output: Path, monitor: str) -> float:
    """Return a finished run's monitored score."""
    scores = read_scores(output)
    return math.log(scores["perplexity"]) if monitor == "loss" else scores[monitor]


def _train(config: DictConfig, output: Path, resumed: tuple[Path, dict[str, Any]] | None) -> float:
    pl.seed_everything(config.seed, workers=True, verbose=False)
    start = Start(config) if config.start is not None and resumed is None else None
    saved = resumed[1]["captioning"] if resumed is not None else None if start is None else start.saved
    module, data = assemble(config, saved)
    path = None
    if resumed is not None:
        path = resumed[0]
        check_weights(resumed[1], module)
        log.info("resuming from %s, after %d steps", path, resumed[1]["global_step"])
        if is_trained(resumed[1], config):
            log.info("nothing is left to train: %s", _extended(config))
    model = module.model
    check_data(data)  # before the encoder reads every training image
    if start is not None:
        start.load(model, module.description())
    elif resumed is None and config.get("model") is None:
        prepare(config, module, data)
    check_run(config, output, module, data)
    timer = Timer()  # checkpoints keep its time, so that a resumed run adds to it
    resuming = Resuming(settings_of(config))
    trainer = build_trainer(config, timer, resuming, Signals())
    log_settings(trainer.loggers, config)
    if trainer.is_global_zero:
        remove_unfinished(output)
        remove_unfinished(output / "checkpoints")
    num_parameters = count_parameters(config, model)
    started = time.process_time()
    with restoring(path, lambda: resuming.has_begun):
        trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    log.info("trained in %.1f minutes of CPU time", (time.process_time() - started) / 60)
    cost: dict[str, float | str] = {**num_parameters, "seconds": timer.time_elapsed(), "precision": trainer.precision}
    cost |= {"epochs": trainer.current_epoch, "steps": trainer.global_step}
    if module.not_finite.num_skipped:
        cost["skipped_steps"] = module.not_finite.num_skipped
    if isinstance(module.objective, PolicyGradient):
        cost["objective"] = signature_line(module.objective.signature())
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if best:
        log.info("best checkpoint: %s", best)
        model.load_state_dict(model_weights(read_checkpoint(best)))
    trainer.validate(module, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        module.finish(data)
        result = module.result(data)
        if (output / "bundle").exists():  # of fewer epochs
            shutil.rmtree(output / "bundle")
        result.write(output, training=cost)
        result.print()
        model.save(output / "bundle", metrics=result.content, examples=examples(model, data))
        log.info("the model is in %s", output / "bundle")
    trainer.strategy.barrier()  # the next phase reads the bundle in every process
    return float(trainer.callback_metrics[f"val/{config.metrics.monitor}"])


@torch.inference_mode()
def examples(model: ImageModel, data: CaptionDataModule) -> ImageFeatures:
    """Return the encoder's features of the validation split's first batch, for the bundle's golden examples."""
    batch = next(iter(data.val_dataloader())).to(model.device)
    with evaluating(model):
        return model.encoder_features(batch)


def _extended(config: DictConfig) -> str:
    return (
        f"trainer.max_epochs={config.trainer.max_epochs} are done, or early stopping ended the run; raise it or "
        "callbacks.early_stopping.patience to train longer"
    )


def count_parameters(config: DictConfig, model: ImageModel) -> dict[str, int]:
    """Count and log the head's parameters, and the encoder's if it is trained from scratch."""
    parts: dict[str, nn.Module] = {model.head_name: model.head}
    encoder = config.get("encoder")
    if config.finetuning is not None and encoder is not None and encoder.get("weights") is None:
        parts["encoder"] = model.encoder
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    for name, count in counts.items():
        log.info("%s: %s parameters", name, f"{count:,}")
    return {f"{name}_parameters": count for name, count in counts.items()}
