"""The LightningModule that trains and validates a captioner."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from captioning.data.batch import CaptionBatch
from captioning.data.module import CaptionDataModule
from captioning.decoders.decoder import Decoder
from captioning.encoders.batch_norm import count_images, synchronise
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.evaluation.predictions import Evaluation, Prediction, evaluate, gather, predict
from captioning.metrics import CocoScorer
from captioning.model.captioner import Captioner
from captioning.objectives import CrossEntropy, loss_means, loss_of_all
from captioning.search.hypotheses import Search
from captioning.seeds import seed_of
from captioning.training.checkpoints import check_same_model, with_new_keys

log = logging.getLogger(__name__)

SHOWN = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "sacreBLEU", "perplexity", "unfinished")
"""The metrics that the log prints after each validation."""


@dataclass(frozen=True)
class FineTuning:
    """When and how the encoder is trained.

    Attributes:
        from_epoch: the first epoch in which the encoder is trained; it is frozen before.
        num_stages: how many of its last stages are trained; None for all.
        learning_rate: its learning rate; None for the decoder's.
    """

    from_epoch: int = 0
    num_stages: int | None = None
    learning_rate: float | None = None


class CaptioningModule(pl.LightningModule):
    """Trains a captioner with an objective, and validates it by the captions that it generates.

    Args:
        captioner: the model.
        search: how validation decodes; None for the captioner's own.
        objective: maps (decoder, features, batch) to the loss.
        optimizer: builds the optimizer from parameter groups.
        schedule: builds a learning-rate schedule from the optimizer. It is stepped every epoch, or every batch if it
            takes the run's `num_steps`. None for a constant rate.
        finetuning: None keeps the encoder frozen.
        scorer: builds the scorer of validation's captions from a split's references.
        monitor: the score that a schedule such as ReduceLROnPlateau watches.
        seed: seed of each step's random numbers.

    Attributes:
        evaluation: the result of the last validation.
    """

    def __init__(
        self,
        captioner: Captioner,
        *,
        search: Search | None = None,
        objective: Callable[[Decoder[Any], ImageFeatures, CaptionBatch], Tensor] | None = None,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer] = torch.optim.Adam,
        schedule: Callable[..., LRScheduler] | None = None,
        finetuning: FineTuning | None = None,
        scorer: Callable[[Mapping[int | str, Sequence[str]]], CocoScorer] = CocoScorer,
        monitor: str = "CIDEr",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.captioner, self.search = captioner, search or captioner.search
        self.objective = objective or CrossEntropy()
        self.optimizer, self.schedule, self.finetuning = optimizer, schedule, finetuning
        self.scorer, self.monitor, self.seed = scorer, monitor, seed
        self.evaluation: Evaluation | None = None
        self._predictions: list[Prediction] = []
        self._scorer: CocoScorer | None = None
        self._fine_tune(epoch=0)

    # ---- training -------------------------------------------------------------------------------------------

    def training_step(self, batch: CaptionBatch, batch_index: int) -> Tensor:
        """Compute the objective's loss of a batch; its average over processes is the loss of all their batches."""
        count_images(self.captioner.encoder, not batch.repeated)
        means = loss_means(self.objective, self.captioner.decoder, self.captioner.features(batch), batch)
        loss = loss_of_all(means, batch)
        self.log("train/loss", loss, batch_size=len(batch.lengths), prog_bar=True, sync_dist=True)
        return loss

    def on_train_start(self) -> None:
        """Train the encoder if training resumes within an epoch in which it is trained."""
        self._fine_tune(self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Start to train the encoder in the epoch that `finetuning` names."""
        self._fine_tune(self.current_epoch)

    def on_train_batch_start(self, batch: CaptionBatch, batch_index: int) -> None:
        """Seed this step's random numbers, so that an interrupted and resumed run draws the same ones."""
        torch.manual_seed(seed_of(self.seed, self.global_step, self.global_rank))

    def _fine_tune(self, epoch: int) -> None:
        trains = self.finetuning is not None and epoch >= self.finetuning.from_epoch
        self.captioner.encoder.set_trainable(self.finetuning.num_stages if self.finetuning and trains else 0)

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
            others = synchronise(self.captioner.encoder)
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
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        """Make one parameter group of decoder and objective, and one of the encoder if it is ever trained."""
        own = list(self.objective.parameters()) if isinstance(self.objective, nn.Module) else []
        groups: list[dict[str, Any]] = [{"params": [*self.captioner.decoder.parameters(), *own]}]
        if self.finetuning is not None:
            rate = self.finetuning.learning_rate
            encoder = list(self.captioner.encoder.parameters())
            groups.append({"params": encoder, **({} if rate is None else {"lr": rate})})
        optimizer = self.optimizer(groups)
        if self.schedule is None:
            return optimizer
        if "num_steps" in signature(self.schedule).parameters:
            num_steps = int(self.trainer.estimated_stepping_batches)
            schedule = {"scheduler": self.schedule(optimizer, num_steps=num_steps), "interval": "step"}
        else:
            schedule = {"scheduler": self.schedule(optimizer), "interval": "epoch", "monitor": f"val/{self.monitor}"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    # ---- validation -----------------------------------------------------------------------------------------

    def validation_step(self, batch: CaptionBatch, batch_index: int) -> None:
        """Caption a batch in full precision, so that the scores are those of the bundle."""
        with torch.autocast(self.device.type, enabled=False):
            captioner = self.captioner
            features = captioner.features(batch)
            self._predictions += predict(captioner.decoder, self.search, captioner.tokenizer, features, batch)

    def on_validation_epoch_end(self) -> None:
        """Gather the predictions of all processes, score them once, and log the scores on every process."""
        predictions, self._predictions = gather(self._predictions), []
        result: list[Evaluation | None] = [None]
        if self.global_rank == 0:
            data = cast(CaptionDataModule, cast(Any, self.trainer).datamodule)
            references = data.splits.references(data.split)
            self._scorer = self._scorer or self.scorer(references)
            result = [evaluate(predictions, references, self._scorer)]
        if self.trainer.world_size > 1:
            distributed.broadcast_object_list(result)
        self.evaluation = result[0]
        assert self.evaluation is not None
        scores = {
            **self.evaluation.scores.corpus,
            "loss": self.evaluation.loss,
            "perplexity": self.evaluation.perplexity,
            "unfinished": float(self.evaluation.num_unfinished),
        }
        if self.global_rank == 0:
            text = ", ".join(f"{name} {scores[name]:.4g}" for name in SHOWN if name in scores)
            log.info("epoch %d, step %d: %s", self.current_epoch, self.global_step, text)
        self.log_dict({f"val/{name}": value for name, value in scores.items()}, sync_dist=True)

    def teardown(self, stage: str) -> None:
        """Close the scorer."""
        if self._scorer is not None:
            self._scorer.close()
            self._scorer = None

    # ---- checkpoints ----------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a bundle needs beside the weights, as plain values and text."""
        checkpoint["captioning"] = self._saved()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of the same model and vocabulary, and map the keys of earlier versions.

        Raises:
            InputError: the checkpoint is of another model or vocabulary.
        """
        check_same_model(checkpoint.get("captioning"), self._saved())
        checkpoint["state_dict"] = with_new_keys(checkpoint["state_dict"])

    def _saved(self) -> dict[str, Any]:
        captioner = self.captioner
        return {
            "config": None if captioner.config is None else dict(captioner.config),
            "tokenizer": captioner.tokenizer.to_json(),
            "transform": captioner.transform.to_dict(),
        }
