"""The LightningModule of word detectors, which validates them by average precision."""

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
from captioning.errors import InputError
from captioning.evaluation.predictions import gather
from captioning.evaluation.word_sizes import find_sizes
from captioning.metrics import word_uncertainty
from captioning.metrics.detections_file import DETECTIONS, Detections
from captioning.metrics.word_counts import NUM_REFERENCES, WordCounts, count_words
from captioning.metrics.word_detection import ALL, WordTable, evaluate
from captioning.model.concept_detector import ConceptDetector
from captioning.model.image_model import ImageModel
from captioning.reports.result import BOOTSTRAP
from captioning.reports.scores import ScoreResult
from captioning.reports.word_sizes import with_sizes
from captioning.reranking.nbest import halves
from captioning.text.parts_of_speech import english_tagger, parts_of_speech
from captioning.training.module import TrainingModule

log = logging.getLogger(__name__)

MODES: Mapping[str, str] = {"AP": "max", "PHR": "max"}
"""Whether the best value of each score is the highest or the lowest."""

Row = tuple[int | str, NDArray[np.float32]]


class DetectionModule(TrainingModule):
    """Trains a word detector, and validates it by its average precision against five references.

    Args:
        model: the model.
        training: further arguments of `TrainingModule`.

    Attributes:
        table: the values of each word in the last validation.
    """

    def __init__(self, model: ConceptDetector, **training: Any) -> None:
        super().__init__(model, **training)
        self.table: WordTable | None = None
        self._rows: list[Row] = []
        self._scores: NDArray[np.float32] | None = None
        self._counts: WordCounts | None = None

    @property
    def detector(self) -> ConceptDetector:
        """The model."""
        return cast(ConceptDetector, self.model)

    def validation_step(self, batch: CaptionBatch, batch_index: int) -> None:
        """Look for every word in a batch's images, in full precision."""
        with torch.autocast(self.device.type, enabled=False):
            scores = self.detector.probabilities(self.detector.features(batch))
        self._rows += zip(batch.image_ids, scores.float().cpu().numpy(), strict=True)

    def on_validation_epoch_end(self) -> None:
        """Gather the scores of all processes, and log their average precision on every process."""
        rows, self._rows = dict(gather(self._rows)), []
        result: list[WordTable | None] = [None]
        if self.global_rank == 0:
            data = cast(CaptionDataModule, cast(Any, self.trainer).datamodule)
            images = data.splits.images(data.split)
            self._counts = self._counts or references_of(self.detector, data)
            self._scores = np.stack([rows[image.image_id] for image in images])
            result = [evaluate(self._counts, self._of_words(self._scores))]
        if self.trainer.world_size > 1:
            distributed.broadcast_object_list(result)
        self.table = result[0]
        assert self.table is not None
        means = self.table.means()[ALL]
        if self.global_rank == 0:
            text = ", ".join(f"{name} {means[name]:.4f}" for name in MODES)
            log.info("epoch %d, step %d: %s", self.current_epoch, self.global_step, text)
        self.log_dict({f"val/{name}": means[name] for name in MODES}, sync_dist=True)

    def rehearse(self, batch: CaptionBatch) -> None:
        """See `TrainingModule.rehearse`."""
        self.detector.probabilities(self.detector.features(batch))

    def finish(self, data: CaptionDataModule) -> None:
        """Calibrate the probabilities on one half of the validation split."""
        if self._scores is None or self._counts is None:
            return  # another process has them
        half, _ = halves([image.image_id for image in data.splits.images(data.split)])
        counts = torch.zeros(len(half), self._scores.shape[1])
        counts[:, self.detector.word_ids] = torch.from_numpy(self._counts.counts[half].astype(np.float32))
        self.detector.calibration.fit(torch.from_numpy(self._scores[half]), counts)

    def result(self, data: CaptionDataModule) -> ScoreResult:
        """See `TrainingModule.result`."""
        assert self._counts is not None and self._scores is not None and self.table is not None
        scores, classes = self._of_words(self._scores), self.detector.classes
        settings = {key: BOOTSTRAP[key] for key in ("num_replicates", "confidence")}
        generator = np.random.default_rng(BOOTSTRAP["seed"])
        found = word_uncertainty.intervals(self._counts, scores, generator, classes=classes, **settings)
        named = {
            value if name == ALL else f"{value} {name}": interval
            for name in sorted(found, key=lambda name: name != ALL)
            for value, interval in found[name].items()
        }
        images = data.splits.images(data.split)
        values, image_ids = self.table.values, [image.image_id for image in images]
        sizes = find_sizes(images, self.detector.tokenizer, self.detector.word_ids)
        result = ScoreResult(
            scores={name: interval.score for name, interval in named.items() if name in found[ALL]},
            details={name: interval.score for name, interval in named.items() if name not in found[ALL]}
            | self._calibration_errors(data),
            intervals=named,
            signature={
                "data": data.splits.name,
                "split": data.split,
                "num_images": len(image_ids),
                "words": len(self.table.words),
            },
            tables={
                "per_word.csv": [
                    ("word", "class", *values),
                    *(
                        (word, (classes or {}).get(word, ""), *row)
                        for word, *row in zip(self.table.words, *(of.tolist() for of in values.values()), strict=True)
                    ),
                ]
            },
            files={DETECTIONS: Detections.of(image_ids, self._counts, scores, sizes).save},
            notes=self._notes(),
        )
        return result if sizes is None else with_sizes(result, self._counts, scores, sizes)

    def _of_words(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Leave out the columns of special tokens."""
        return scores[:, self.detector.word_ids].astype(np.float64)

    def _calibration_errors(self, data: CaptionDataModule) -> dict[str, float]:
        """Measure, on the half of the split that `finish` leaves out, how far probabilities are from precisions."""
        assert self._scores is not None and self._counts is not None
        _, half = halves([image.image_id for image in data.splits.images(data.split)])
        own = torch.from_numpy(self._scores[half])
        counts = self._counts.counts[half]
        return {
            name: calibration_error(self._of_words(probabilities.cpu().numpy()), counts)
            for name, probabilities in (
                ("calibration_error", self.detector.calibration(own.to(self.device))),
                ("calibration_error before", own),
            )
        }

    def _notes(self) -> list[str]:
        assert self.table is not None
        notes = []
        if self.table.absent:
            num = len(self.table.absent)
            notes.append(f"{num} of {num + len(self.table.words)} words occur in no reference and count in no mean")
        if self.detector.classes is None:
            notes.append("no parts of speech: the tagger was not installed when the detector was trained")
        return notes


def calibration_error(probabilities: NDArray[np.float64], counts: NDArray[np.integer], *, num_bins: int = 10) -> float:
    """Compute the expected calibration error of words with a probability of at least 0.1.

    The probabilities of all words and images are put into bins of equal width. The error is the mean, weighted by the
    bins' sizes, of the distance between a bin's mean probability and its precision, tp / (tp + fp) of Fang et al. 2015.

    Args:
        probabilities: (I, W).
        counts: (I, W) how many of the five references have the word.
        num_bins: between 0 and 1. The first one is left out: nearly all words are in it, and they are not said.
    """
    p, c = probabilities.ravel(), counts.ravel().astype(np.float64)
    tp = c * (1 - 1 / NUM_REFERENCES)
    fp = np.where(c == 0, 1.0, np.where(c == 1, 1 / NUM_REFERENCES, 0.0))
    bins = np.minimum((p * num_bins).astype(np.int64), num_bins - 1)
    size, sum_p, sum_tp, sum_fp = (np.bincount(bins, x, num_bins) for x in (np.ones_like(p), p, tp, fp))
    used = np.flatnonzero((size > 0) & (np.arange(num_bins) > 0))
    if not len(used):
        return 0.0
    gaps = np.abs(sum_p[used] / size[used] - sum_tp[used] / (sum_tp[used] + sum_fp[used]))
    return float((gaps * size[used]).sum() / size[used].sum())


def references_of(detector: ConceptDetector, data: CaptionDataModule) -> WordCounts:
    """Count the detector's words in the references of the data module's split."""
    captions = [_tokenized(detector, image.captions) for image in data.splits.images(data.split)]
    vocabulary = detector.tokenizer.vocabulary
    return count_words(captions, [vocabulary[i] for i in detector.word_ids])


def _tokenized(detector: ConceptDetector, captions: tuple[str, ...] | list[str]) -> list[str]:
    rules = detector.tokenizer.backend.normalizer
    return list(captions) if rules is None else [rules.normalize_str(caption) for caption in captions]


def start(model: ImageModel, data: CaptionDataModule) -> None:
    """Give a new detector the frequencies of its words, and their parts of speech if the tagger is installed.

    Raises:
        InputError: the detector needs a grid, and the features have none; or a training image has no caption.
    """
    detector = cast(ConceptDetector, model)
    vocabulary, num_words = detector.tokenizer.vocabulary, len(detector.tokenizer)
    present = torch.zeros(num_words, dtype=torch.float64)
    images = data.splits.images("train")
    for image in images:
        ids = detector.tokenizer.encode(list(image.captions[:NUM_REFERENCES]))
        present[sorted({i for caption in ids for i in caption})] += 1
    with torch.inference_mode():
        features = detector.features(data.first("train"))
    detector.detector.start(present / len(images), features)
    try:
        tagger = english_tagger()
    except InputError as error:
        log.warning("%s", error)
        return
    words = [vocabulary[i] for i in detector.word_ids]
    tokens = (caption.split() for image in images for caption in _tokenized(detector, image.captions))
    detector.classes = parts_of_speech(words, tokens, tagger)
