"""BLEU of translations."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import pytest
import sacrebleu

from captioning.errors import InputError
from captioning.metrics import CocoScorer, intervals
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.sacre_bleu import SacreBleu

REFERENCES = {
    1: ["Two men, in red, are talking."],
    2: ["A dog runs through the snow.", "The dog is running in snow."],
    3: ["A child's toy lies on the floor."],
}
TRANSLATIONS = {3: "The child's toy is on the floor.", 1: "Two men in red are talking.", 2: "A dog runs through snow."}
EMPTY = dict.fromkeys(REFERENCES, "")
SHORT = {1: "Two men", 2: "A dog", 3: "Toy."}
STREAMS = list(zip_longest(*REFERENCES.values()))  # sacrebleu's form for sentences of one and two references


def corpus_bleu(translations) -> float:
    return sacrebleu.corpus_bleu([translations[n] for n in REFERENCES], STREAMS).score / 100


@pytest.mark.parametrize("translations", [TRANSLATIONS, EMPTY, SHORT, {n: own[0] for n, own in REFERENCES.items()}])
def test_scores_of_the_corpus_and_of_each_sentence_are_sacrebleu_s(translations) -> None:
    with CocoScorer(REFERENCES, metrics=["sacreBLEU"]) as scorer:
        scores = scorer.score(translations)
    assert scores.corpus == {"sacreBLEU": pytest.approx(corpus_bleu(translations), abs=1e-12)}
    for n, own in REFERENCES.items():
        alone = sacrebleu.BLEU(effective_order=True).sentence_score(translations[n], own).score / 100
        assert scores.per_image[n] == {"sacreBLEU": pytest.approx(alone, abs=1e-12)}


def test_case_and_punctuation_count() -> None:
    scorer = CocoScorer(REFERENCES, metrics=["sacreBLEU"])
    lower = {n: text.lower() for n, text in TRANSLATIONS.items()}
    assert scorer.score(lower).corpus["sacreBLEU"] < scorer.score(TRANSLATIONS).corpus["sacreBLEU"]


def test_statistics_add_up_and_have_intervals() -> None:
    metric = SacreBleu(list(REFERENCES.values()))
    statistics = metric.statistics([TRANSLATIONS[n] for n in REFERENCES])
    assert statistics.shape == (3, 10)
    both = metric.scores(np.stack([statistics.sum(0), statistics[0]]))
    assert both.shape == (2, 1)
    assert both[0, 0] == pytest.approx(corpus_bleu(TRANSLATIONS))
    scores = CocoScorer(REFERENCES, metrics=["sacreBLEU"]).score(TRANSLATIONS)
    interval = intervals(scores, num_replicates=50)["sacreBLEU"]
    assert interval.low <= scores.corpus["sacreBLEU"] <= interval.high


@pytest.mark.parametrize(("kept", "nrefs"), [([1, 2, 3], "var"), ([1, 3], "1"), ([2], "2")])
def test_the_signature_is_sacrebleu_s_own(kept: list[int], nrefs: str) -> None:
    references = {n: REFERENCES[n] for n in kept}
    signature = CocoScorer(references, metrics=["sacreBLEU"]).signature()
    metric = sacrebleu.BLEU()
    metric.corpus_score([TRANSLATIONS[n] for n in kept], list(zip_longest(*references.values())))
    assert signature["sacrebleu"] == str(metric.get_signature())
    assert signature["sacrebleu"].startswith(f"nrefs:{nrefs}|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_metrics_of_other_tokens_and_document_frequencies_are_refused() -> None:
    with pytest.raises(InputError, match="BLEU and sacreBLEU count the tokens of different tokenizers;"):
        CocoScorer(REFERENCES, metrics=["BLEU", "sacreBLEU"])
    with pytest.raises(InputError, match="no document frequencies"):
        CocoScorer(REFERENCES, metrics=["sacreBLEU"], frequencies=DocumentFrequencies(1, {}))
