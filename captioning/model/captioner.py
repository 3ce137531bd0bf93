"""The Lightning module that joins an encoder, a decoder, a tokenizer, a search and an objective."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from captioning.data.batch import CaptionBatch
from captioning.data.images import load_image, to_rgb
from captioning.decoders.decoder import Decoder
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.encoders.text_transform import TextTransform
from captioning.errors import InputError
from captioning.evaluation.predictions import Evaluation, Prediction, evaluate, gather, predict
from captioning.metrics import CocoScorer
from captioning.objectives import CrossEntropy
from captioning.search import BeamSearch
from captioning.search.hypotheses import Search
from captioning.seeds import seed_of
from captioning.text.tokenizer import Tokenizer
from captioning.training.checkpoints import check_same_model

log = logging.getLogger(__name__)

S = TypeVar("S")

ImageLike = Image.Image | str | Path
ImageList = list[Any] | tuple[Any, ...]
"""Of ImageLike; `list` alone would refuse a list[str]."""
TextList = list[str] | tuple[str, ...]
"""A str is a sequence of str too, and means one sentence."""


@dataclass(frozen=True)
class FineTuning:
    """When and how the encoder learns too.

    Attributes:
        from_epoch: the first epoch in which it does; frozen before.
        num_stages: how many of its last stages; None for all.
        learning_rate: its own; None for the decoder's.
    """

    from_epoch: int = 0
    num_stages: int | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class Caption:
    """A caption of one image.

    Attributes:
        text: the caption.
        score: its log-probability in nats, end word included.
        finished: False where it was cut at the search's longest length.
    """

    text: str
    score: float
    finished: bool

    def __str__(self) -> str:
        return self.text


def open_images(images: Sequence[ImageLike]) -> list[Image.Image]:
    """Upright RGB images of paths and of PIL images of any kind.

    Raises:
        InputError: a file is no image; it is named.
    """
    return [to_rgb(image) if isinstance(image, Image.Image) else load_image(image) for image in images]


class Captioner(pl.LightningModule):
    """A neural image captioner.

    Args:
        encoder: images to features.
        decoder: features and tokens to scores.
        tokenizer: captions to tokens.
        standardise: the scaling between encoder and decoder; None for none.
        search: how captions are decoded, in validation and by `caption`.
        objective: maps (decoder, features, batch) to the loss.
        optimizer: builds the optimiser from parameter groups.
        schedule: builds a learning-rate schedule that is stepped every epoch, or every batch if it asks for the run's
            `num_steps`; None for a constant rate.
        finetuning: None keeps the encoder frozen.
        scorer: makes what scores validation's captions, of a split's references.
        monitor: the figure by which a schedule that waits for one judges an epoch.
        seed: what each step's random numbers start from, so that a resumed run equals an uninterrupted one.
        config: plain values from which `captioning.model.bundle` rebuilds encoder, decoder and search.

    Attributes:
        evaluation: the figures of the last validation.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder[Any],
        tokenizer: Tokenizer,
        *,
        standardise: Standardise | None = None,
        search: Search | None = None,
        objective: Callable[[Decoder[Any], ImageFeatures, CaptionBatch], Tensor] | None = None,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer] = torch.optim.Adam,
        schedule: Callable[..., LRScheduler] | None = None,
        finetuning: FineTuning | None = None,
        scorer: Callable[[Mapping[int | str, Sequence[str]]], CocoScorer] = CocoScorer,
        monitor: str = "CIDEr",
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        # Convolutions are faster over channels that lie together.
        self.encoder = encoder.to(memory_format=torch.channels_last)
        self.decoder, self.tokenizer = decoder, tokenizer
        self.standardise: nn.Module = standardise or nn.Identity()
        self.search, self.objective = search or BeamSearch(), objective or CrossEntropy()
        self.optimizer, self.schedule, self.finetuning = optimizer, schedule, finetuning
        self.scorer, self.monitor, self.seed, self.config = scorer, monitor, seed, config
        self.evaluation: Evaluation | None = None
        self._predictions: list[Prediction] = []
        self._scorer: CocoScorer | None = None
        self._tune(epoch=0)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Captioner:
        """Load a bundle, ready to caption; see `captioning.model.bundle`."""
        from captioning.model.bundle import load_bundle

        return load_bundle(path)

    # ---- features -------------------------------------------------------------------------------------------

    def features(self, batch: CaptionBatch) -> ImageFeatures:
        """The batch's image features, from the cache if it brings them, else from its images or sentences."""
        features = batch.features
        if features is None:
            assert batch.images is not None
            features = self.encoder(batch.images)
        return cast(ImageFeatures, self.standardise(replace(features, objects=batch.objects)))

    # ---- training -------------------------------------------------------------------------------------------

    def training_step(self, batch: CaptionBatch, batch_index: int) -> Tensor:
        """The objective's loss of a batch."""
        loss = self.objective(self.decoder, self.features(batch), batch)
        self.log("train/loss", loss, batch_size=len(batch.lengths), prog_bar=True)
        return loss

    def on_train_epoch_start(self) -> None:
        """Start the encoder's training when its time has come."""
        self._tune(self.current_epoch)

    def on_train_batch_start(self, batch: CaptionBatch, batch_index: int) -> None:
        """Start this step's random numbers, which do not depend on what was drawn before."""
        torch.manual_seed(seed_of(self.seed, self.global_step, self.global_rank))

    def _tune(self, epoch: int) -> None:
        tuned = self.finetuning is not None and epoch >= self.finetuning.from_epoch
        self.encoder.set_trainable(self.finetuning.num_stages if self.finetuning and tuned else 0)

    def setup(self, stage: str) -> None:
        """Refuse what distributed training cannot do."""
        if stage == "fit" and self.finetuning and self.finetuning.from_epoch and self.trainer.world_size > 1:
            raise InputError(
                f"finetuning.from_epoch={self.finetuning.from_epoch} with {self.trainer.world_size} processes: "
                "gradients of parameters that are frozen at the start are not exchanged. Train frozen first, then "
                "resume that run's checkpoint with finetuning.from_epoch=0"
            )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer says; with fused optimisers too, which Lightning refuses wherever precision is mixed.

        Only float16 scales its gradients, so that clipping before a fused optimiser unscales them would be wrong.
        """
        if self.trainer.precision == "16-mixed" or not gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(self.parameters(), gradient_clip_val)
        else:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        """One group for the decoder and the objective, one for the encoder if it will ever learn."""
        own = list(self.objective.parameters()) if isinstance(self.objective, nn.Module) else []
        groups: list[dict[str, Any]] = [{"params": [*self.decoder.parameters(), *own]}]
        if self.finetuning is not None:
            rate = self.finetuning.learning_rate
            groups.append({"params": list(self.encoder.parameters()), **({} if rate is None else {"lr": rate})})
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
        """Caption freely; in full precision, so that the figures are those of the bundle."""
        with torch.autocast(self.device.type, enabled=False):
            features = self.features(batch)
            self._predictions += predict(self.decoder, self.search, self.tokenizer, features, batch)

    def on_validation_epoch_end(self) -> None:
        """Gather every image's prediction, score them once, and log the figures on every process."""
        predictions, self._predictions = gather(self._predictions), []
        result: list[Evaluation | None] = [None]
        if self.global_rank == 0:
            data = cast(Any, self.trainer).datamodule
            references = data.references(data.split)
            self._scorer = self._scorer or self.scorer(references)
            result = [evaluate(predictions, references, self._scorer)]
        if self.trainer.world_size > 1:
            distributed.broadcast_object_list(result)
        self.evaluation = result[0]
        assert self.evaluation is not None
        figures = {
            **self.evaluation.scores.corpus,
            "loss": self.evaluation.loss,
            "perplexity": self.evaluation.perplexity,
            "unfinished": float(self.evaluation.num_unfinished),
        }
        if self.global_rank == 0:
            shown = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "sacreBLEU", "perplexity", "unfinished")
            text = ", ".join(f"{name} {figures[name]:.4g}" for name in shown if name in figures)
            log.info("epoch %d, step %d: %s", self.current_epoch, self.global_step, text)
        self.log_dict({f"val/{name}": value for name, value in figures.items()}, sync_dist=True)

    def teardown(self, stage: str) -> None:
        """Close the scorer."""
        if self._scorer is not None:
            self._scorer.close()
            self._scorer = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a bundle needs beside the weights: plain values and text."""
        checkpoint["captioning"] = self._saved()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from another model's weights, or from weights for another vocabulary."""
        check_same_model(checkpoint.get("captioning"), self._saved())

    def _saved(self) -> dict[str, Any]:
        return {
            "config": None if self.config is None else dict(self.config),
            "tokenizer": self.tokenizer.to_json(),
            "transform": self.encoder.transform.to_dict(),
        }

    # ---- use ------------------------------------------------------------------------------------------------

    @overload
    def caption(self, images: ImageLike, *, search: Search | None = ..., batch_size: int = ...) -> Caption: ...
    @overload
    def caption(self, images: ImageList, *, search: Search | None = ..., batch_size: int = ...) -> list[Caption]: ...
    @torch.inference_mode()
    def caption(
        self, images: ImageLike | ImageList, *, search: Search | None = None, batch_size: int = 32
    ) -> Caption | list[Caption]:
        """Caption images.

        Args:
            images: a PIL image, a path, or a list of them.
            search: another than the model's own, such as `BeamSearch(beam_size=10)`.
            batch_size: images that are encoded and searched at once.

        Returns:
            The caption of one image, or a list of captions in the order of a list.

        Raises:
            InputError: a file is no image; it is named. Or the model translates sentences.
        """
        if isinstance(images, (Image.Image, str, Path)):
            return self.caption([images], search=search)[0]
        transform = self.encoder.transform
        if isinstance(transform, TextTransform):
            raise InputError("this model translates sentences and sees no images; use translate")

        def pixels(part: Sequence[ImageLike]) -> Tensor:
            return torch.stack([transform(picture) for picture in open_images(part)])

        return self._in_batches(images, pixels, search, batch_size)

    @overload
    def translate(self, texts: str, *, search: Search | None = ..., batch_size: int = ...) -> Caption: ...
    @overload
    def translate(self, texts: TextList, *, search: Search | None = ..., batch_size: int = ...) -> list[Caption]: ...
    @torch.inference_mode()
    def translate(
        self, texts: str | TextList, *, search: Search | None = None, batch_size: int = 32
    ) -> Caption | list[Caption]:
        """Translate sentences.

        Args:
            texts: a sentence of the source language, or a list of them.
            search: another than the model's own.
            batch_size: sentences that are encoded and searched at once.

        Returns:
            The translation of one sentence, or a list of translations in the order of a list.

        Raises:
            InputError: the model captions images.
        """
        if isinstance(texts, str):
            return self.translate([texts], search=search)[0]
        if not isinstance(self.encoder.transform, TextTransform):
            raise InputError("this model captions images and reads no sentences; use caption")
        return self._in_batches(texts, self.encoder.transform, search, batch_size)

    def _in_batches(
        self, sources: Sequence[S], inputs: Callable[[Sequence[S]], Tensor], search: Search | None, batch_size: int
    ) -> list[Caption]:
        training = self.training
        self.eval()
        try:
            return [
                caption
                for start in range(0, len(sources), batch_size)
                for caption in self._say(inputs(sources[start : start + batch_size]), search or self.search)
            ]
        finally:
            self.train(training)

    def _say(self, inputs: Tensor, search: Search) -> list[Caption]:
        features = self.standardise(self.encoder(inputs.to(self.device)))
        found = search(self.decoder, features, self.tokenizer.special)
        return [
            Caption(self.tokenizer.decode(tokens), score, finished)
            for tokens, score, finished in zip(
                found.tokens[:, 0].tolist(),
                found.scores[:, 0].tolist(),
                found.finished[:, 0].tolist(),
                strict=True,
            )
        ]
