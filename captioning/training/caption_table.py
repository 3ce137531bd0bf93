"""A table of captions in Weights & Biases."""

from __future__ import annotations

from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger

from captioning.reports.page import images_to_show
from captioning.training.captioning import CaptioningModule
from captioning.training.loggers import SafeLogger


class CaptionTable(pl.Callback):
    """Log images with their captions and references to Weights & Biases after each validation.

    Args:
        num_images: the number of images, the first ones of the split. A cell is empty if its image cannot be read.
    """

    def __init__(self, *, num_images: int = 16) -> None:
        self.num_images = num_images

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Log the table to every WandbLogger of the run."""
        if trainer.is_global_zero and getattr(module, "evaluation", None) is not None:  # other kinds write no captions
            for logger in trainer.loggers:
                if isinstance(logger, SafeLogger):
                    logger.attempt(lambda wandb_logger: self._log(wandb_logger, trainer, module), WandbLogger)

    def _log(self, logger: WandbLogger, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        import wandb

        data = cast(Any, trainer).datamodule
        evaluation, monitor = cast(CaptioningModule, module).evaluation, cast(CaptioningModule, module).monitor
        assert evaluation is not None
        images = data.splits.images(data.split)[: self.num_images]
        rows = [
            [
                str(prediction.image_id),
                None if shown is None else wandb.Image(shown),
                prediction.caption,
                evaluation.scores.per_image[prediction.image_id].get(monitor),
                "\n".join(image.captions),
            ]
            for shown, image, prediction in zip(images_to_show(images), images, evaluation.predictions, strict=False)
        ]
        logger.log_table("val/captions", columns=["image_id", "image", "caption", monitor, "references"], data=rows)
