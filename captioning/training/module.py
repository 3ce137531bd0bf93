"""The LightningModule that trains a model of any kind."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from captioning.data.batch import CaptionBatch
from captioning.data.module import CaptionDataModule
from captioning.encoders.batch_norm import count_images, synchronise
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.model.checkpoint import with_new_keys
from captioning.model.image_model import ImageModel
from captioning.objectives import loss_means, loss_of_all
from captioning.seeds import seed_of, seed_random_numbers
from captioning.training.checkpoints import check_same_model
from captioning.training.not_finite import NotFinite
from captioning.training.on_cpu import OnCPU

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuning:
    """When and how the encoder is trained.

    Attributes:
        from_epoch: the first epoch in which the encoder is trained; it is frozen before.
        num_stages: how many of its last stages are trained; None for all.
        learning_rate: its learning rate; None for the head's.
        weight_decay: its weight decay; None for the head's.
        batch_statistics: whether its batch normalisations use the statistics of each batch, or keep those of its
            weights; see `Encoder.set_trainable`.
    """

    from_epoch: int = 0
    num_stages: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    batch_statistics: bool = True

    @property
    def group(self) -> dict[str, float]:
        """The settings of the optimizer for the encoder's weights, as far as they differ from the head's."""
        own = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        return {name: value for name, value in own.items() if value is not None}


class RunResult(Protocol):
    """The result of a run's last validation: what metrics.json holds, and how it is written and printed."""

    @property
    def content(self) -> Mapping[str, Any]:
        """What metrics.json holds."""
        ...

    def write(self, folder: Path, *, training: Mapping[str, float | str] | None = None) -> None:
        """Write the files of the result into a folder, and the cost of training beside them."""
        ...

    def print(self) -> None:
        """Print the scores."""
        ...


class TrainingModule(pl.LightningModule, ABC):
    """Trains a model's head, and its encoder if it is fine-tuned, with an objective.

    Args:
        model: the model.
        objective: maps (head, features, batch) to the loss; None if the model is only evaluated.
        optimizer: builds the optimizer from parameter groups.
        schedule: builds a learning-rate schedule from the optimizer. It is stepped every epoch, or every batch if it
            takes the run's `num_steps`. None for a constant rate.
        finetuning: None keeps the encoder frozen.
        monitor: the score that a schedule such as ReduceLROnPlateau watches.
        seed: seed of each step's random numbers.
        not_finite: what is done when a loss is not finite; None stops the run.
    """

    def __init__(
        self,
        model: ImageModel,
        *,
        objective: Callable[[Any, ImageFeatures, CaptionBatch], Tensor] | None = None,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer] = torch.optim.Adam,
        schedule: Callable[..., LRScheduler] | None = None,
        finetuning: FineTuning | None = None,
        monitor: str = "CIDEr",
        seed: int = 0,
        not_finite: NotFinite | None = None,
    ) -> None:
        super().__init__()
        self.not_finite = not_finite or NotFinite()
        self.model, self.objective = model, objective
        self.optimizer, self.schedule, self.finetuning = optimizer, schedule, finetuning
        self.monitor, self.seed = monitor, seed
        self._fine_tune(epoch=0)

    @abstractmethod
    def rehearse(self, batch: CaptionBatch) -> None:
        """Do with a batch what validation does, and keep nothing, so that faults are found before training.

        Raises:
            InputError: the parts of the run do not fit together.
        """

    def finish(self, data: CaptionDataModule) -> None:
        """Learn from the last validation what no step of training can, such as a calibration."""

    @abstractmethod
    def result(self, data: CaptionDataModule) -> RunResult:
        """Return what the last validation found, as the files of a run."""

    # ---- training -------------------------------------------------------------------------------------------

    def training_step(self, batch: CaptionBatch, batch_index: int) -> Tensor | None:
        """Compute the objective's loss of a batch; its average over processes is the loss of all their batches.

        Returns:
            The loss; None if it is not finite and the step is left out.
        """
        count_images(self.model.encoder, not batch.repeated)
        self.not_finite.begin(batch, *self._with_changing_buffers())
        with _weights_converted_once(self.device.type), OnCPU():
            means = loss_means(self.objective, self.model.head, self.model.features(batch), batch)
        loss = loss_of_all(means, batch)
        if not self.not_finite.passes(self, "loss", loss.detach()):
            return None
        self.log("train/loss", loss, batch_size=len(batch.lengths), prog_bar=True, sync_dist=True)
        return loss

    def _with_changing_buffers(self) -> list[nn.Module]:
        """Return the modules whose buffers a step changes."""
        changing = [self.objective] if isinstance(self.objective, nn.Module) else []
        return [*changing, self.model.encoder] if self.finetuning is not None else changing

    def on_train_start(self) -> None:
        """Train the encoder if training resumes within an epoch in which it is trained."""
        self._fine_tune(self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Start to train the encoder in the epoch that `finetuning` names."""
        self._fine_tune(self.current_epoch)

    def on_train_batch_start(self, batch: CaptionBatch, batch_index: int) -> None:
        """Seed this step's random numbers, so that an interrupted and resumed run draws the same ones."""
        seed_random_numbers(seed_of(self.seed, self.global_step, self.global_rank), self.device)

    def _fine_tune(self, epoch: int) -> None:
        tuned = self.finetuning
        if tuned is None or epoch < tuned.from_epoch:
            self.model.encoder.set_trainable(0)
        else:
            self.model.encoder.set_trainable(tuned.num_stages, batch_statistics=tuned.batch_statistics)

    def setup(self, stage: str) -> None:
        """Prepare the encoder for several processes, and check that they can do what `finetuning` asks.

        Batch normalisation then reads the images of all processes, as one process would with all their images.

        Raises:
            InputError: the encoder would start to train in a later epoch, with several processes.
        """
        if stage == "fit" and self.finetuning and self.finetuning.from_epoch and self.trainer.world_size > 1:
            raise InputError(
                f"finetuning.from_epoch={self.finetuning.from_epoch} with {self.trainer.world_size} processes: "
                "gradients of parameters that are frozen at the start are not exchanged. Train frozen first, then "
                "resume that run's checkpoint with finetuning.from_epoch=0"
            )
        if stage == "fit" and self.finetuning and self.trainer.world_size > 1:
            others = synchronise(self.model.encoder)
            if others:
                log.warning(
                    "%d layers normalise by the images of their own process, so results depend on the number of "
                    "processes; on GPUs set trainer.sync_batchnorm=true",
                    others,
                )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients as the trainer says, with fused optimizers too, which Lightning refuses in mixed precision.

        With float16, Lightning's own clipping is used: a fused optimizer unscales the gradients itself, so here they
        are still scaled, and clipping them would be wrong.
        """
        if self.trainer.precision == "16-mixed" or not gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(self.parameters(), gradient_clip_val)
        else:
            norm = nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)
            if not self.not_finite.passes(self, "norm of the gradient", norm):
                optimizer.zero_grad()  # parameters without a gradient are not changed

    def configure_optimizers(self) -> Any:
        """Make one parameter group of head and objective, and one of the encoder if it is ever trained."""
        own = list(self.objective.parameters()) if isinstance(self.objective, nn.Module) else []
        groups: list[dict[str, Any]] = [{"params": [*self.model.head.parameters(), *own]}]
        if self.finetuning is not None:
            groups.append({"params": list(self.model.encoder.parameters()), **self.finetuning.group})
        optimizer = self.optimizer(groups)
        if self.schedule is None:
            return optimizer
        if "num_steps" in signature(self.schedule).parameters:
            num_steps = int(self.trainer.estimated_stepping_batches)
            schedule = {"scheduler": self.schedule(optimizer, num_steps=num_steps), "interval": "step"}
        else:
            schedule = {"scheduler": self.schedule(optimizer), "interval": "epoch", "monitor": f"val/{self.monitor}"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    # ---- checkpoints ----------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a bundle needs beside the weights, as plain values and text."""
        checkpoint["captioning"] = self.description()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of the same model and vocabulary, and map the keys of earlier versions.

        Raises:
            InputError: the checkpoint is of another model or vocabulary.
        """
        check_same_model(checkpoint.get("captioning"), self.description())
        checkpoint["state_dict"] = with_new_keys(checkpoint["state_dict"])

    def description(self) -> dict[str, Any]:
        """Return what a checkpoint says of the model beside its weights, as plain values and text."""
        model = self.model
        return {
            "config": None if model.config is None else dict(model.config),
            "tokenizer": model.tokenizer.to_json(),
            "transform": model.transform.to_dict(),
        }


def _weights_converted_once(device_type: str) -> torch.autocast:
    """In mixed precision, let a step convert each weight once, as torch does by itself.

    Lightning's precision turns this off. A loop over time would then convert its weights again at each time step.
    """
    enabled, dtype = torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)
    return torch.autocast(device_type, dtype=dtype, enabled=enabled, cache_enabled=True)
