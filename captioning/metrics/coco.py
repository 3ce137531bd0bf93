"""Score captions against references that are prepared once, by default as COCO's evaluation does."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from captioning import __version__
from captioning.errors import InputError
from captioning.memory import without_collection
from captioning.metrics.backend import Columns, score_by, versions
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.files import ImageId, check_same_images, listing
from captioning.metrics.plausibility import doubts_of_captions, doubts_of_references
from captioning.metrics.resources import Embedding, Resources
from captioning.metrics.table import BACKENDS, COCO_METRICS, OWN_BACKEND, check_metrics, in_order, metric_class
from captioning.metrics.uncertainty import Comparison, Interval, approximate_randomization, bootstrap

logger = logging.getLogger(__name__)

_OTHER_NAMES = {**{f"BLEU-{order}": f"Bleu_{order}" for order in range(1, 5)}, "ROUGE-L": "ROUGE_L"}
"""Pycocoevalcap's names of scores, where they differ."""

References = Mapping[ImageId, Sequence[str]] | Sequence[Sequence[str] | str]
"""The references of each image: by its id, or in a list, whose places are then the ids."""


@dataclass(frozen=True)
class Scores:
    """The scores of one set of captions: fractions, not percentages; CIDEr lies in [0, 10].

    Attributes:
        corpus: the scores of the corpus by name, in the order of `METRICS`.
        per_image: the scores of each image by image id, in the references' order. A corpus's BLEU and METEOR are not
            the means of these, because they come from summed statistics.
        tokenized: the captions as they were scored, by image id.
        statistics: (I, S) of each metric, a row per image, which `captioning.metrics.uncertainty` resamples. A
            backend may have none.
    """

    corpus: dict[str, float]
    per_image: dict[ImageId, dict[str, float]]
    tokenized: dict[ImageId, str] = field(default_factory=dict, compare=False)
    statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict, compare=False)

    def named_as_in_pycocoevalcap(self) -> dict[str, float]:
        """Return the scores of the corpus by pycocoevalcap's names, such as Bleu_4 and ROUGE_L."""
        return {_OTHER_NAMES.get(name, name): value for name, value in self.corpus.items()}


class CocoScorer:
    """Score captions against references that are prepared once.

    The default scores are those of pycocoevalcap's COCOEvalCap. Its CIDEr is CIDEr-D (Vedantam et al. 2015) with
    document frequencies from these references: it is 0 for a single image and depends on the set of images.

    Args:
        references: the reference captions of each image, as published: by the image's id, or in a list. In a list,
            a string is an image with one reference.
        metrics: names in `METRICS`, or paths of metrics of other packages.
        frequencies: CIDEr's document frequencies; None counts these references, as COCO does.
        backend: a name in `BACKENDS`.
        images: the file of each image, in the order of the references, for CLIPScore.
        embedding: a CLIP model, for CLIPScore.

    Raises:
        InputError: an image has no references, references are not lists of strings, or none has a word. Or a metric
            or the backend is unknown, or lacks something that it needs.
    """

    @without_collection()
    def __init__(
        self,
        references: References,
        *,
        metrics: Collection[str] = COCO_METRICS,
        frequencies: DocumentFrequencies | None = None,
        backend: str = OWN_BACKEND,
        images: Sequence[Path] | None = None,
        embedding: Embedding | None = None,
    ) -> None:
        given = {"frequencies": frequencies, "images": images, "embedding": embedding}
        check_metrics(metrics, backend, given=[name for name, value in given.items() if value is not None])
        references = _by_place(references)
        _check_references(references)
        ordered = in_order(metrics)
        beside = [name for name in ordered if metric_class(name).tokenizer is None]
        main = [name for name in ordered if name not in beside]
        self._tokenizer = BACKENDS[backend].tokenizer(main)
        self._references = self._tokenizer.tokenize(references)
        self._metrics = metrics
        if not any(map(any, self._references.values())):
            raise InputError("expected references with words; after tokenization not one has any")
        _warn(doubts_of_references(references, self._references, metrics, other_frequencies=frequencies is not None))
        self._frequencies = frequencies
        self._digest = _digest(self._references)
        text, tokens = (list(form.values()) for form in (references, self._references))
        resources = Resources(text, tokens, frequencies, images, embedding)
        self._backend = BACKENDS[backend](main, resources)
        self._beside = {name: metric_class(name).of(resources) for name in beside}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that metrics started."""
        self._backend.close()

    @without_collection()
    def score(self, captions: Mapping[ImageId, str] | Sequence[str]) -> Scores:
        """Score one caption for each image of the references.

        Args:
            captions: untokenized captions, by image id in any order, or in a list if the references are in one. An
                empty caption is scored, and logged.

        Raises:
            InputError: the ids differ from the references', a caption is not a string, or a metric failed.
        """
        if not isinstance(captions, Mapping):
            captions = self._in_order(captions)
        self._check_captions(captions)
        texts = {image_id: [captions[image_id]] for image_id in self._references}
        candidates = self._tokenizer.tokenize(texts)
        _warn(doubts_of_captions(texts, candidates, self._references, self._metrics))
        tokenized = {image_id: caption for image_id, (caption,) in candidates.items()}
        columns = _join(
            self._backend.score(list(tokenized.values())), score_by(self._beside, [text for (text,) in texts.values()])
        )
        rows = zip(*columns.per_image.values(), strict=True)
        per_image = {
            image_id: dict(zip(columns.per_image, row, strict=True))
            for image_id, row in zip(self._references, rows, strict=True)
        }
        return Scores(columns.corpus, per_image, tokenized, columns.statistics)

    def signature(self) -> dict[str, Any]:
        """Report what determines the scores; the caller adds data set, split and search."""
        counts = [len(group) for group in self._references.values()]
        return {
            "captioning": __version__,
            **self._backend.signature(),
            **versions(self._beside),
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

    def _in_order(self, captions: Sequence[str]) -> dict[ImageId, str]:
        """Give the captions of a list their places as ids."""
        if isinstance(captions, str) or list(self._references) != list(range(len(self._references))):
            raise InputError(
                "expected captions by image id; a list of captions is for references that were given in a list"
            )
        if len(captions) != len(self._references):
            raise InputError(
                f"expected a caption for each of the {len(self._references)} images, found {len(captions)}"
            )
        return dict(enumerate(captions))

    def _check_captions(self, captions: Mapping[ImageId, str]) -> None:
        check_same_images(self._references, captions)
        if wrong := [image_id for image_id, caption in captions.items() if not isinstance(caption, str)]:
            raise InputError(f"expected one string as the caption of each image; not so for {listing(wrong)}")


def intervals(
    scores: Scores, *, num_replicates: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Compute the bootstrap interval of every score, see `uncertainty.bootstrap`.

    There are none without statistics. There are none of a single image either, because every draw is that image.

    Args:
        scores: the scores of one set of captions.
        num_replicates: how often images are drawn.
        confidence: the share of replicates within an interval.
        seed: seed of the draws, which are the same for all metrics.
    """
    found: dict[str, Interval] = {}
    if len(scores.per_image) == 1:
        return found
    for name, statistics in scores.statistics.items():
        generator = np.random.default_rng(seed)
        found |= bootstrap(
            metric_class(name), statistics, generator, num_replicates=num_replicates, confidence=confidence
        )
    return found


def compare(
    first: Scores, second: Scores, *, num_replicates: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """Test the difference of every score, see `uncertainty.approximate_randomization`; none of a single image.

    Args:
        first: the scores of one set of captions.
        second: the scores of another set, for the same images and references.
        num_replicates: how often captions are exchanged, and how often images are drawn.
        confidence: the share of replicates within an interval.
        seed: seed of the exchanges and draws.

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
    if len(first.per_image) == 1:
        return found
    for name, statistics in first.statistics.items():
        found |= approximate_randomization(
            metric_class(name),
            statistics,
            second.statistics[name],
            np.random.default_rng(seed),
            num_replicates=num_replicates,
            confidence=confidence,
        )
    return found


def _join(first: Columns, second: Columns) -> Columns:
    return Columns(
        {**first.corpus, **second.corpus},
        {**first.per_image, **second.per_image},
        {**first.statistics, **second.statistics},
    )


def _digest(references: Mapping[ImageId, Sequence[str]]) -> str:
    """Compute an identifier of the references; scores against different references are not compared."""
    text = json.dumps(list(references.items()), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _by_place(references: References) -> Mapping[ImageId, Sequence[str]]:
    """Give the images of a list their places as ids; a mapping has ids already."""
    if isinstance(references, Mapping):
        return references
    if isinstance(references, str):
        raise InputError("expected references for each image, by its id or in a list; found a string")
    return {place: [group] if isinstance(group, str) else group for place, group in enumerate(references)}


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


def _warn(doubts: Sequence[str]) -> None:
    for doubt in doubts:
        logger.warning("%s", doubt)
