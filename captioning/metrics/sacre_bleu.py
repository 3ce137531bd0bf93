"""BLEU of untokenized translations, by sacrebleu (Post 2018, arXiv:1804.08771) and its own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Self

import numpy as np
import sacrebleu
from numpy.typing import NDArray

from captioning.metrics.checks import check_candidates, check_references
from captioning.metrics.metric import Metric
from captioning.metrics.resources import Resources
from captioning.metrics.tokenization import Tokenizer, keep_text

ORDERS = 4


class SacreBleu(Metric):
    """BLEU from summed n-gram counts, with case and punctuation and with exponential smoothing.

    Statistics, S = 10: the sentence's clipped counts and its numbers of n-grams for n = 1 to 4, its length, and the
    length of the closest reference.

    Differs: `scores` of one row are those of a corpus of one sentence, which is 0 for fewer than four words.
    `image_scores` are sacrebleu's sentence BLEU, which averages over those n for which the sentence has n-grams.

    Args:
        references: the references of each sentence, as published.

    Raises:
        InputError: there is no sentence, or a sentence has no reference.
    """

    names = ("sacreBLEU",)
    tokenizer = Tokenizer("13a", keep_text)

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        check_references(references)
        self._references = [list(own) for own in references]
        self._bleu = sacrebleu.BLEU(effective_order=True)  # counts do not depend on it; sentences would warn without
        streams = list(zip_longest(*references))  # sacrebleu marks a sentence with fewer references by None
        self.signature = str(sacrebleu.BLEU(references=streams).get_signature())

    @classmethod
    def of(cls, resources: Resources) -> Self:  # noqa: D102
        return cls(resources.text)

    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:  # noqa: D102
        check_candidates(candidates, len(self._references))
        scores = [
            self._bleu.sentence_score(candidate, own)
            for candidate, own in zip(candidates, self._references, strict=True)
        ]
        return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], dtype=np.float64)

    @staticmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: D102
        return _bleu(totals, effective_order=False)

    @classmethod
    def image_scores(cls, statistics: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: D102
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
