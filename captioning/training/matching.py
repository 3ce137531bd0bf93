"""The LightningModule of matchers, which validates them by retrieval."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from captioning.data.batch import CaptionBatch
from captioning.data.module import CaptionDataModule
from captioning.evaluation.matching import Matching, Sentences, match
from captioning.evaluation.predictions import gather
from captioning.matchers import Embedded
from captioning.metrics.ranks_file import RANKS, Ranks, digest
from captioning.model.aligner import Aligner
from captioning.reports.result import BOOTSTRAP
from captioning.reports.scores import ScoreResult
from captioning.training.module import TrainingModule

log = logging.getLogger(__name__)

MODES: Mapping[str, str] = {
    "recall": "max",
    **{f"{direction} R@{k}": "max" for direction in ("image_to_text", "text_to_image") for k in (1, 5, 10)},
    **{f"{direction} median_rank": "min" for direction in ("image_to_text", "text_to_image")},
}
"""Whether the best value of each score is the highest or the lowest."""

Row = tuple[int | str, NDArray[np.float32]]


class MatchingModule(TrainingModule):
    """Trains a matcher, and validates it by the ranks of true pairs.

    Args:
        aligner: the model.
        captions_per_image: captions of each validation image that are ranked, from the first.
        training: further arguments of `TrainingModule`.

    Attributes:
        matching: the result of the last validation.
    """

    def __init__(self, aligner: Aligner, *, captions_per_image: int = 5, **training: Any) -> None:
        super().__init__(aligner, **training)
        self.captions_per_image = captions_per_image
        self.matching: Matching | None = None
        self._sentences: Sentences | None = None
        self._embedded: Embedded | None = None
        self._rows: list[Row] = []

    @property
    def aligner(self) -> Aligner:
        """The model."""
        return cast(Aligner, self.model)

    def on_validation_epoch_start(self) -> None:
        """Embed the split's sentences once."""
        data = cast(CaptionDataModule, cast(Any, self.trainer).datamodule)
        if self._sentences is None:
            images = data.splits.images(data.split)
            self._sentences = Sentences.of(images, captions_per_image=self.captions_per_image)
        with torch.autocast(self.device.type, enabled=False):
            self._embedded = self.aligner.embed(self._sentences.texts)

    def validation_step(self, batch: CaptionBatch, batch_index: int) -> None:
        """Score a batch's images with all sentences of the split, in full precision."""
        assert self._embedded is not None
        with torch.autocast(self.device.type, enabled=False):
            similarity = self.aligner.similarity(self.aligner.features(batch), self._embedded)
        self._rows += zip(batch.image_ids, similarity.float().cpu().numpy(), strict=True)

    def on_validation_epoch_end(self) -> None:
        """Gather the similarities of all processes, rank them once, and log the scores on every process."""
        rows, self._rows, self._embedded = gather(self._rows), [], None
        result: list[Matching | None] = [None]
        if self.global_rank == 0:
            assert self._sentences is not None
            result = [match(dict(rows), self._sentences)]
        if self.trainer.world_size > 1:
            distributed.broadcast_object_list(result)
        self.matching = result[0]
        assert self.matching is not None
        if self.global_rank == 0:
            text = ", ".join(f"{name} {value:.4g}" for name, value in self.matching.scores.items())
            log.info("epoch %d, step %d: %s", self.current_epoch, self.global_step, text)
        self.log_dict({f"val/{name}": value for name, value in self.matching.scores.items()}, sync_dist=True)

    def rehearse(self, batch: CaptionBatch) -> None:
        """See `TrainingModule.rehearse`."""
        words, lengths = batch.words(self.aligner.tokenizer.special.eos)
        sentences = self.aligner.matcher.sentences(words.to(self.device), lengths)
        self.aligner.similarity(self.aligner.features(batch), sentences)

    def result(self, data: CaptionDataModule) -> ScoreResult:
        """See `TrainingModule.result`."""
        assert self.matching is not None and self._sentences is not None
        ranks = Ranks(self._sentences.image_ids, digest(self._sentences.texts), self.matching.directions)
        generator = np.random.default_rng(BOOTSTRAP["seed"])
        settings = {key: BOOTSTRAP[key] for key in ("num_replicates", "confidence")}
        intervals = {
            f"{direction} {name}": interval
            for direction, found in self.matching.directions.items()
            for name, interval in found.intervals(generator, **settings).items()
        }
        return ScoreResult(
            scores=self.matching.scores,
            intervals=intervals,
            signature={
                "data": data.splits.name,
                "split": data.split,
                "num_images": len(data.splits.images(data.split)),
                "captions_per_image": self.captions_per_image,
            },
            files={RANKS: ranks.save},
        )
