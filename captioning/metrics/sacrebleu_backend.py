"""BLEU of translations, of text as it is, by sacrebleu (Post 2018, arXiv:1804.08771) and its own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np
import sacrebleu
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.backend import Figures
from captioning.metrics.cider import DocumentFrequencies
from captioning.metrics.files import ImageId
from captioning.metrics.metric import Metric, check_candidates, check_references

ORDERS = 4


class SacreBleu(Metric):
    """BLEU of sums of clipped n-gram counts, with case and punctuation, exponentially smoothed.

    The statistics of a sentence are its clipped counts and numbers of n-grams for n = 1 to 4, its own length, and the
    closest reference's. Differs: `figures` of one row are those of a corpus of one sentence, which is 0 where it has
    fewer than four words; a sentence's own figure is `sentence_figures`.

    Args:
        references: the references of each sentence, as published.

    Raises:
        InputError: there is no sentence, or one has no reference.
    """

    names = ("sacreBLEU",)
    version = sacrebleu.__version__

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        check_references(references)
        self._references = [list(own) for own in references]
        self._bleu = sacrebleu.BLEU(effective_order=True)  # the counts are the same, and a sentence alone asks for it

    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:
        """See `Metric.statistics`; the candidates are untokenized."""
        check_candidates(candidates, len(self._references))
        scores = [
            self._bleu.sentence_score(candidate, own)
            for candidate, own in zip(candidates, self._references, strict=True)
        ]
        return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], dtype=np.float64)

    @staticmethod
    def figures(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Metric.figures`."""
        return _bleu(totals, effective_order=False)

    @staticmethod
    def sentence_figures(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
        """Figures of sentences by themselves, (I, 1): of the n for which a sentence has n-grams at all."""
        return _bleu(statistics, effective_order=True)


def _bleu(totals: NDArray[np.float64], *, effective_order: bool) -> NDArray[np.float64]:
    rows = totals.reshape(-1, 2 * ORDERS + 2).astype(np.int64).tolist()
    found = [
        sacrebleu.BLEU.compute_bleu(
            row[:ORDERS], row[ORDERS : 2 * ORDERS], row[-2], row[-1], "exp", effective_order=effective_order
        ).score
        for row in rows
    ]
    return np.array(found).reshape(*totals.shape[:-1], 1) / 100


METRICS: dict[str, type[Metric]] = {"sacreBLEU": SacreBleu}
"""Every metric by its name; each reports under its `names`."""


class SacreBleuBackend:
    """A `Backend` that scores text as it is: for translations, whose case and punctuation count.

    Raises:
        InputError: document frequencies are given.
    """

    known: ClassVar[tuple[str, ...]] = tuple(METRICS)

    def __init__(
        self, references: Sequence[Sequence[str]], metrics: Sequence[str], frequencies: DocumentFrequencies | None
    ) -> None:
        if frequencies is not None:
            raise InputError("sacrebleu has no document frequencies; leave them out")
        self._metric = SacreBleu(references)
        streams = list(zip_longest(*references))  # None where a sentence has fewer: sacrebleu's own way to say so
        self._signature = str(sacrebleu.BLEU(references=streams).get_signature())

    @staticmethod
    def tokenize(captions: Mapping[ImageId, Sequence[str]]) -> dict[ImageId, list[str]]:
        """Leave every text as it is: sacrebleu tokenizes by itself."""
        return {image_id: list(own) for image_id, own in captions.items()}

    def score(self, captions: Sequence[str]) -> Figures:
        """See `Backend.score`."""
        statistics = self._metric.statistics(captions)
        (corpus,) = self._metric.figures(statistics.sum(0))
        each = self._metric.sentence_figures(statistics)[:, 0]
        return Figures({"sacreBLEU": float(corpus)}, {"sacreBLEU": each.tolist()}, {"sacreBLEU": statistics})

    def versions(self) -> dict[str, Any]:
        """See `Backend.versions`; `sacrebleu` is its own signature."""
        return {"tokenizer": "13a", "metrics": ["sacreBLEU"], "sacrebleu": self._signature}

    def close(self) -> None:
        """Nothing runs."""
