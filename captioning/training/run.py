"""One training run: train, evaluate the best checkpoint, write the bundle."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Timer
from torch import nn

from captioning.data.module import CaptionDataModule
from captioning.encoders.features import ImageFeatures
from captioning.model.captioner import Captioner, evaluating
from captioning.reports.result import Result
from captioning.training.assemble import assemble
from captioning.training.checkpoints import captioner_weights, read_checkpoint
from captioning.training.checks import check_output, check_run
from captioning.training.trainer import build_trainer

log = logging.getLogger(__name__)


def train(config: DictConfig, output: Path) -> float:
    """Train, then evaluate the best checkpoint and write its bundle, all into `output`.

    Returns:
        The monitored score of the best checkpoint, for sweepers that search for good settings.

    Raises:
        InputError: `output` holds another run, or a setting in `config` is invalid.
    """
    check_output(config, output)
    # Fails early with our message; torch's would advise to unpickle.
    saved = None if config.checkpoint is None else read_checkpoint(config.checkpoint)["captioning"]
    pl.seed_everything(config.seed, workers=True, verbose=False)
    module, data = assemble(config, saved)
    captioner = module.captioner
    check_run(config, output, module, data)
    timer = Timer()  # checkpoints keep its time, so that a resumed run adds to it
    trainer = build_trainer(config, timer)
    num_parameters = count_parameters(config, captioner)
    started = time.process_time()
    trainer.fit(module, datamodule=data, ckpt_path=config.checkpoint, weights_only=True)
    log.info("trained in %.1f minutes of CPU time", (time.process_time() - started) / 60)
    if trainer.interrupted:
        raise KeyboardInterrupt
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if best:
        log.info("best checkpoint: %s", best)
        captioner.load_state_dict(captioner_weights(read_checkpoint(best)))
    trainer.validate(module, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        cost = {**num_parameters, "seconds": timer.time_elapsed(), "precision": trainer.precision}
        assert module.evaluation is not None
        result = Result.of_evaluation(module.evaluation, data=data.splits.name, split=data.split, search=module.search)
        result.write(output, training=cost)
        result.print()
        captioner.save(output / "bundle", metrics=result.content, examples=examples(captioner, data))
    return float(trainer.callback_metrics[f"val/{config.metrics.monitor}"])


@torch.inference_mode()
def examples(captioner: Captioner, data: CaptionDataModule) -> ImageFeatures:
    """Return the encoder's features of the validation split's first batch, for the bundle's golden examples."""
    batch = next(iter(data.val_dataloader())).to(captioner.device)
    with evaluating(captioner):
        return captioner.encoder_features(batch)


def count_parameters(config: DictConfig, captioner: Captioner) -> dict[str, int]:
    """Count and log the decoder's parameters, and the encoder's if it is trained from scratch."""
    parts: dict[str, nn.Module] = {"decoder": captioner.decoder}
    if config.finetuning is not None and config.encoder.get("weights") is None:
        parts["encoder"] = captioner.encoder
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    for name, count in counts.items():
        log.info("%s: %s parameters", name, f"{count:,}")
    return {f"{name}_parameters": count for name, count in counts.items()}
