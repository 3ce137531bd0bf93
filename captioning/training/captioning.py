"""The LightningModule of captioners, which validates them by the captions that they generate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, distributed

from captioning.data.batch import CaptionBatch
from captioning.data.module import CaptionDataModule
from captioning.decoders.decoder import Decoder
from captioning.decoders.visual_concepts import VisualConcepts
from captioning.encoders.features import ImageFeatures
from captioning.evaluation.predictions import Evaluation, Prediction, evaluate, gather, predict
from captioning.metrics import CocoScorer
from captioning.model.captioner import Captioner
from captioning.model.image_model import ImageModel
from captioning.objectives import CrossEntropy
from captioning.reports.result import Result
from captioning.search.hypotheses import Search
from captioning.training.detected import ngrams
from captioning.training.module import TrainingModule

log = logging.getLogger(__name__)

SHOWN = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "sacreBLEU", "perplexity", "unfinished")
"""The metrics that the log prints after each validation."""


def start(model: ImageModel, data: CaptionDataModule) -> None:
    """Give a decoder of n-grams those that the training captions contain."""
    decoder = cast(Captioner, model).decoder
    if isinstance(decoder, VisualConcepts):
        decoder.observe(ngrams(model.tokenizer, data.splits.captions("train"), order=decoder.order))


class CaptioningModule(TrainingModule):
    """Trains a captioner, and validates it by the captions that it generates.

    Args:
        captioner: the model.
        search: how validation decodes; None for the captioner's own.
        objective: maps (decoder, features, batch) to the loss.
        scorer: builds the scorer of validation's captions from a split's references.
        training: further arguments of `TrainingModule`.

    Attributes:
        evaluation: the result of the last validation.
    """

    def __init__(
        self,
        captioner: Captioner,
        *,
        search: Search | None = None,
        objective: Callable[[Decoder[Any], ImageFeatures, CaptionBatch], Tensor] | None = None,
        scorer: Callable[[Mapping[int | str, Sequence[str]]], CocoScorer] = CocoScorer,
        **training: Any,
    ) -> None:
        super().__init__(captioner, objective=objective or CrossEntropy(), **training)
        self.search, self.scorer = search or captioner.search, scorer
        self.evaluation: Evaluation | None = None
        self._predictions: list[Prediction] = []
        self._scorer: CocoScorer | None = None

    @property
    def captioner(self) -> Captioner:
        """The model."""
        return cast(Captioner, self.model)

    def on_validation_epoch_start(self) -> None:
        """Pack the weights for this validation's searches."""
        self.captioner.pack()

    def validation_step(self, batch: CaptionBatch, batch_index: int) -> None:
        """Caption a batch in full precision, so that the scores are those of the bundle."""
        with torch.autocast(self.device.type, enabled=False):
            self._predictions += self._predict(batch)

    def rehearse(self, batch: CaptionBatch) -> None:
        """See `TrainingModule.rehearse`."""
        self._predict(batch)

    def _predict(self, batch: CaptionBatch) -> list[Prediction]:
        captioner = self.captioner
        features = captioner.features(batch)
        return predict(
            captioner.searched, self.search, captioner.tokenizer, features, batch, confidences=captioner.confidences
        )

    def on_validation_epoch_end(self) -> None:
        """Gather the predictions of all processes, score them once, and log the scores on every process."""
        self.captioner.unpack()
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

    def result(self, data: CaptionDataModule) -> Result:
        """See `TrainingModule.result`."""
        assert self.evaluation is not None
        return Result.of_evaluation(self.evaluation, data=data.splits.name, split=data.split, search=self.search)

    def teardown(self, stage: str) -> None:
        """Close the scorer. After training it is kept, because the best checkpoint is validated next."""
        if stage != "fit" and self._scorer is not None:
            self._scorer.close()
            self._scorer = None
