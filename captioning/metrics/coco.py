"""COCO caption evaluation: BLEU, METEOR, ROUGE-L and CIDEr of captions against references that are prepared once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from captioning import __version__
from captioning.errors import InputError
from captioning.metrics import numpy_backend, sacrebleu_backend
from captioning.metrics.backend import Backend, Figures
from captioning.metrics.cider import DocumentFrequencies
from captioning.metrics.clip_score import ClipScore
from captioning.metrics.files import ImageId, check_same_images, listing
from captioning.metrics.metric import Metric
from captioning.metrics.numpy_backend import NumpyBackend
from captioning.metrics.originals.backend import PycocoevalcapBackend
from captioning.metrics.sacrebleu_backend import SacreBleuBackend
from captioning.metrics.uncertainty import Comparison, Interval, approximate_randomization, bootstrap

logger = logging.getLogger(__name__)

BACKENDS: dict[str, type[Backend]] = {
    "captioning": NumpyBackend,
    "pycocoevalcap": PycocoevalcapBackend,
    "sacrebleu": SacreBleuBackend,
}
"""Whose code counts, by name."""

METRICS: dict[str, type[Metric]] = {**numpy_backend.METRICS, **sacrebleu_backend.METRICS, "CLIPScore": ClipScore}
"""Every metric by its name; each reports under its `names`."""

COCO_METRICS = ("BLEU", "METEOR", "ROUGE-L", "CIDEr")
"""What COCO's evaluation reports and this one computes unless told otherwise."""


@dataclass(frozen=True)
class Scores:
    """What one set of captions scored. Fractions, not percentages; CIDEr lies in [0, 10].

    Attributes:
        corpus: by metric, in the order BLEU-1 to BLEU-4, METEOR, ROUGE-L, CIDEr, CLIP-S.
        per_image: the same by image id, in the references' order. BLEU and METEOR of the corpus are not their
            mean: they come from summed statistics.
        tokenized: the captions as they were scored, by image id.
        statistics: (I, S) of each metric of METRICS, a row an image: what `captioning.metrics.uncertainty`
            resamples. A backend may have none.
    """

    corpus: dict[str, float]
    per_image: dict[ImageId, dict[str, float]]
    tokenized: dict[ImageId, str] = field(default_factory=dict, compare=False)
    statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict, compare=False)


class CocoScorer:
    """Score captions against references that are tokenized once and kept.

    The figures are those of pycocoevalcap's COCOEvalCap. Its CIDEr is CIDEr-D (Vedantam et al. 2015) with document
    frequencies from these references: it is 0 for a single image and moves with the set of images.

    Args:
        references: the reference captions of each image, as published: they are tokenized here.
        metrics: which of METRICS to compute.
        frequencies: CIDEr's document frequencies; None counts these references, as COCO does.
        backend: one of BACKENDS.
        clip: CLIPScore too, made of the same references in the same order; it is given captions as they are.

    Raises:
        InputError: an image has no references, or not a list of strings; no reference has a word; a metric or the
            backend is unknown, or lacks what it needs.
    """

    def __init__(
        self,
        references: Mapping[ImageId, Sequence[str]],
        *,
        metrics: Collection[str] = COCO_METRICS,
        frequencies: DocumentFrequencies | None = None,
        backend: str = "captioning",
        clip: ClipScore | None = None,
    ) -> None:
        check_metrics(metrics, backend)
        _check_references(references)
        self._references = BACKENDS[backend].tokenize(references)
        _warn_of_empty("reference", self._references)
        if not any(map(any, self._references.values())):
            raise InputError("expected references with words; after tokenization not one has any")
        self._frequencies = frequencies
        self._digest = _digest(self._references)
        in_order = [name for name in BACKENDS[backend].known if name in metrics]
        self._backend = BACKENDS[backend](list(self._references.values()), in_order, frequencies)
        self._clip = clip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that metrics keep."""
        self._backend.close()

    def score(self, captions: Mapping[ImageId, str]) -> Scores:
        """Score one caption for each image of the references.

        Args:
            captions: by image id, untokenized, in any order. An empty one scores and is reported in the log.

        Raises:
            InputError: ids differ from the references', a caption is not a string, or a metric failed.
        """
        self._check_captions(captions)
        candidates = self._backend.tokenize({image_id: [captions[image_id]] for image_id in self._references})
        _warn_of_empty("caption", candidates)
        tokenized = {image_id: caption for image_id, (caption,) in candidates.items()}
        figures = self._backend.score(list(tokenized.values()))
        if self._clip is not None:
            figures = _joined(figures, self._clip, [captions[image_id] for image_id in self._references])
        rows = zip(*figures.per_image.values(), strict=True)
        per_image = {
            image_id: dict(zip(figures.per_image, row, strict=True))
            for image_id, row in zip(self._references, rows, strict=True)
        }
        return Scores(figures.corpus, per_image, tokenized, figures.statistics)

    def signature(self) -> dict[str, Any]:
        """Say what moves the figures; the caller adds data set, split and search."""
        counts = [len(group) for group in self._references.values()]
        return {
            "captioning": __version__,
            **self._backend.versions(),
            **({} if self._clip is None else {"CLIPScore": self._clip.version}),
            "document_frequencies": (
                "these references" if self._frequencies is None else f"{self._frequencies.num_images} other images"
            ),
            "references": self._digest,
            "end_word": "not scored",
            "num_images": len(counts),
            "num_references": sum(counts),
            "min_references": min(counts),
            "max_references": max(counts),
        }

    def _check_captions(self, captions: Mapping[ImageId, str]) -> None:
        check_same_images(self._references, captions)
        if wrong := [image_id for image_id, caption in captions.items() if not isinstance(caption, str)]:
            raise InputError(f"expected one string as the caption of each image; not so for {listing(wrong)}")


def intervals(
    scores: Scores, *, num_replicates: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Bootstrap intervals of every figure; see `uncertainty.bootstrap`. Empty where the scores have no statistics.

    Args:
        scores: of one set of captions.
        num_replicates: how often images are drawn.
        confidence: the share of replicates within an interval.
        seed: the same images are drawn for all metrics.
    """
    found: dict[str, Interval] = {}
    for name, statistics in scores.statistics.items():
        generator = np.random.default_rng(seed)
        found |= bootstrap(METRICS[name], statistics, generator, num_replicates=num_replicates, confidence=confidence)
    return found


def compare(
    first: Scores, second: Scores, *, num_replicates: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """Test every figure's difference by approximate randomization; see `uncertainty.approximate_randomization`.

    Args:
        first: of one set of captions.
        second: of another, of the same images and references.
        num_replicates: how often captions are exchanged, and images drawn.
        confidence: the share of replicates within an interval.
        seed: of both.

    Raises:
        InputError: the scores are of different images or metrics.
    """
    if list(first.per_image) != list(second.per_image):
        raise InputError("expected scores of the same images in the same order; score both by one scorer")
    if first.statistics.keys() != second.statistics.keys():
        raise InputError(
            f"expected scores by the same metrics, found statistics of {', '.join(first.statistics) or 'none'} and of "
            f"{', '.join(second.statistics) or 'none'}"
        )
    found: dict[str, Comparison] = {}
    for name, statistics in first.statistics.items():
        found |= approximate_randomization(
            METRICS[name],
            statistics,
            second.statistics[name],
            np.random.default_rng(seed),
            num_replicates=num_replicates,
            confidence=confidence,
        )
    return found


def check_metrics(metrics: Collection[str], backend: str) -> None:
    """Check that a backend has metrics of these names.

    Raises:
        InputError: it lacks one, there is none, or there is no such backend.
    """
    if backend not in BACKENDS:
        raise InputError(f"expected one of the backends {', '.join(BACKENDS)}; found {backend!r}")
    known = BACKENDS[backend].known
    if not metrics or not set(metrics) <= set(known):
        raise InputError(f"expected metrics among {', '.join(known)}; found {list(metrics)}")


def _joined(figures: Figures, metric: ClipScore, captions: Sequence[str]) -> Figures:
    """The figures and those of one metric more."""
    statistics = metric.statistics(captions)
    return Figures(
        {**figures.corpus, **dict(zip(metric.names, metric.figures(statistics.sum(axis=0)).tolist(), strict=True))},
        {**figures.per_image, **dict(zip(metric.names, metric.figures(statistics).T.tolist(), strict=True))},
        {**figures.statistics, "CLIPScore": statistics},
    )


def _digest(references: Mapping[ImageId, Sequence[str]]) -> str:
    """What tells these references from others: figures of different ones are not compared."""
    text = json.dumps(list(references.items()), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_references(references: Mapping[ImageId, Sequence[str]]) -> None:
    if not references:
        raise InputError("expected references for at least one image, found none")
    if without := [image_id for image_id, group in references.items() if group in ([], ())]:
        raise InputError(
            f"expected at least one reference for each image, found none for {listing(without)}; "
            "drop these images or add captions"
        )
    if wrong := [
        image_id
        for image_id, group in references.items()
        if not isinstance(group, list | tuple) or not all(isinstance(reference, str) for reference in group)
    ]:
        raise InputError(f"expected a list of strings as the references of each image; not so for {listing(wrong)}")


def _warn_of_empty(what: str, tokenized: Mapping[ImageId, Sequence[str]]) -> None:
    if empty := [image_id for image_id, group in tokenized.items() if not all(group)]:
        logger.warning("images with an empty %s after tokenization: %s", what, listing(empty))
