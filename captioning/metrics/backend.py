"""The interface of a program that turns captions into scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.metric import Metric
from captioning.metrics.resources import Resources
from captioning.metrics.tokenization import Tokenizer


@dataclass(frozen=True)
class Columns:
    """The scores of I captions, a column per score.

    Attributes:
        corpus: each score of the corpus, by its name.
        per_image: the scores of each image, by name, in the references' order.
        statistics: (I, S) of each metric, by its name; empty if the backend has none.
    """

    corpus: dict[str, float]
    per_image: dict[str, Sequence[float]]
    statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict)


class Backend(Protocol):
    """Prepares references once, and scores captions against them.

    It is built from the names of metrics, which must be in `known`, and from the resources that the metrics need.
    """

    known: ClassVar[tuple[str, ...]]

    def __init__(self, names: Sequence[str], resources: Resources) -> None: ...

    @staticmethod
    def tokenizer(names: Collection[str]) -> Tokenizer:
        """Find the tokenizer of metrics that are computed together."""
        ...

    def score(self, captions: Sequence[str]) -> Columns:
        """Score one tokenized caption of each image."""
        ...

    def signature(self) -> dict[str, Any]:
        """Report what determines the scores."""
        ...

    def close(self) -> None:
        """End the processes that it started."""
        ...


def score_by(metrics: Mapping[str, Metric], captions: Sequence[str]) -> Columns:
    """Score one caption of each image by metrics that have statistics."""
    statistics = {name: metric.statistics(captions) for name, metric in metrics.items()}
    corpus: dict[str, float] = {}
    per_image: dict[str, Sequence[float]] = {}
    for name, metric in metrics.items():
        corpus |= zip(metric.names, metric.scores(statistics[name].sum(0)).tolist(), strict=True)
        per_image |= zip(metric.names, metric.image_scores(statistics[name]).T.tolist(), strict=True)
    return Columns(corpus, per_image, statistics)


def versions(metrics: Mapping[str, Metric]) -> dict[str, str]:
    """Collect the versions of metrics under their names, and the signatures of their own programs in lower case."""
    return {
        **{name: metric.version for name, metric in metrics.items() if metric.version},
        **{name.lower(): metric.signature for name, metric in metrics.items() if metric.signature},
    }
