"""The figures by this package's own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from captioning.metrics.backend import Figures
from captioning.metrics.bleu import Bleu
from captioning.metrics.cider import Cider, CiderD, DocumentFrequencies
from captioning.metrics.files import ImageId
from captioning.metrics.meteor import Meteor
from captioning.metrics.metric import Metric
from captioning.metrics.ngrams import ReferenceNGrams
from captioning.metrics.penn_treebank import tokenizer as penn_treebank
from captioning.metrics.rouge import RougeL
from captioning.metrics.spice import Spice

METRICS: dict[str, type[Metric]] = {
    "BLEU": Bleu,
    "METEOR": Meteor,
    "ROUGE-L": RougeL,
    "CIDEr": Cider,
    "CIDEr-D": CiderD,
    "SPICE": Spice,
}
"""Every metric by its name; each reports under its `names`."""


class NumpyBackend:
    """A `Backend` in Python and NumPy: pycocoevalcap's figures to 1e-6, without Java, and with statistics."""

    known: ClassVar[tuple[str, ...]] = tuple(METRICS)

    def __init__(
        self, references: Sequence[Sequence[str]], metrics: Sequence[str], frequencies: DocumentFrequencies | None
    ) -> None:
        ngrams = ReferenceNGrams(references) if {"BLEU", "CIDEr", "CIDEr-D"} & set(metrics) else references
        makers: dict[str, Callable[[], Metric]] = {
            "BLEU": lambda: Bleu(ngrams),
            "METEOR": lambda: Meteor(references),
            "ROUGE-L": lambda: RougeL(references),
            "CIDEr": lambda: Cider(ngrams, frequencies),
            "CIDEr-D": lambda: CiderD(ngrams, frequencies),
            "SPICE": lambda: Spice(references),
        }
        self._metrics = {name: makers[name]() for name in metrics}

    @staticmethod
    def tokenize(captions: Mapping[ImageId, Sequence[str]]) -> dict[ImageId, list[str]]:
        """See `penn_treebank.tokenize`."""
        return penn_treebank.tokenize(captions)

    def score(self, captions: Sequence[str]) -> Figures:
        """See `Backend.score`."""
        statistics = {name: metric.statistics(captions) for name, metric in self._metrics.items()}
        corpus: dict[str, float] = {}
        per_image: dict[str, Sequence[float]] = {}
        for name, metric in self._metrics.items():
            corpus |= zip(metric.names, metric.figures(statistics[name].sum(0)).tolist(), strict=True)
            per_image |= zip(metric.names, metric.figures(statistics[name]).T.tolist(), strict=True)
        return Figures(corpus, per_image, statistics)

    def versions(self) -> dict[str, Any]:
        """See `Backend.versions`."""
        return {
            "tokenizer": penn_treebank.NAME,
            "metrics": [figure for metric in self._metrics.values() for figure in metric.names],
            **{name: metric.version for name, metric in self._metrics.items() if metric.version},
        }

    def close(self) -> None:
        """Nothing runs."""
