from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocoevalcap.cider import cider as reference

from captioning.errors import InputError
from captioning.metrics.bleu import Bleu
from captioning.metrics.cider import Cider, DocumentFrequencies
from captioning.metrics.diversity import (
    bad_ending_share,
    distinct,
    mean_length,
    novel_share,
    oracle,
    repetition_share,
    self_cider,
    summary,
    vocabulary_size,
)
from captioning.metrics.rouge import RougeL

CAPTIONS = ["a dog runs on a", "a dog", "", "the dog runs"]
FREQUENCIES = DocumentFrequencies(num_images=10, counts={"a": 9, "dog": 3, "a dog": 2})


def test_distinct_counts_different_ngrams_for_each_word():
    # 10 words; a, dog, runs, on, the; a dog, dog runs, runs on, on a, the dog.
    assert distinct(CAPTIONS, 1) == 5 / 10
    assert distinct(CAPTIONS, 2) == 5 / 10
    assert distinct(CAPTIONS, 4) == 2 / 10
    assert distinct(["", ""], 1) == 0


def test_words_and_lengths_are_counted():
    assert vocabulary_size(CAPTIONS) == 5
    assert mean_length(CAPTIONS) == 10 / 4
    assert mean_length([]) == 0


def test_novel_captions_are_those_not_known_word_for_word():
    assert novel_share(CAPTIONS, ["a dog", "the dog runs", "dog"]) == 2 / 4
    assert novel_share(CAPTIONS, []) == 1


def test_only_last_words_are_bad_endings():
    assert bad_ending_share([*CAPTIONS, "of", "the lights are on"]) == 3 / 6
    assert bad_ending_share(["a sofa", "an ankle", ""]) == 0


def test_captions_that_say_three_words_twice_are_repetitions():
    repeated = ["a red dog and a red dog", "on on on on", "a man in a hat and in a shirt", "a dog", ""]
    assert repetition_share(repeated) == 2 / 5
    assert repetition_share(repeated, order=2) == 3 / 5
    assert repetition_share([]) == 0


def test_self_cider_is_0_for_equal_captions_and_1_for_unrelated_ones():
    same = ["a dog runs on the grass"] * 3
    unlike = ["a dog runs fast", "two men wait here", "the red bus stops"]
    words = ["", "", ""]
    assert self_cider([same, unlike, words], FREQUENCIES) == pytest.approx([0, 1, 0], abs=1e-6)


def test_self_cider_equals_the_formula_on_pycocoevalcaps_scores():
    groups = [["a dog runs on grass", "the dog runs", "a dog and a dog"], ["a red bus", "the red bus stops here"]]
    references = [*groups, ["a dog", "the bus"], ["two men"]]
    expected = []
    for group in groups:
        kernel = np.zeros((len(group), len(group)))
        for i, candidate in enumerate(group):
            for j, other in enumerate(group[: i + 1]):
                kernel[i, j] = kernel[j, i] = score_alone(candidate, other, references) / 10
        roots = np.sqrt(np.clip(np.linalg.eigvalsh(kernel), 0, None))
        expected.append(-np.log(roots[-1] / roots.sum()) / np.log(len(group)))
    assert self_cider(groups, DocumentFrequencies.of(references)) == pytest.approx(expected, rel=0, abs=1e-9)


def score_alone(candidate: str, other: str, references: list[list[str]]) -> float:
    """Pycocoevalcap's CIDEr of two captions, with the document frequencies of references."""
    scorer = reference.CiderScorer()
    for group in references:
        scorer += ("", group)
    scorer.compute_doc_freq()
    scorer.crefs, scorer.ctest = [], []
    for _ in references:  # as many images as were counted
        scorer += (candidate, [other])
    return float(scorer.compute_cider()[0])


def test_self_cider_of_no_image_or_of_one_caption_is_refused():
    with pytest.raises(InputError, match="expected captions of at least one image, found none"):
        self_cider([], FREQUENCIES)
    with pytest.raises(InputError, match="at least two captions of each image; 1 of 2 have fewer"):
        self_cider([["a", "b"], ["a"]], FREQUENCIES)


@pytest.mark.parametrize("metric", [Bleu, RougeL, Cider])
def test_oracle_picks_the_best_caption_of_each_image(metric: Any):
    built = metric([["a dog runs on the grass"], ["two men wait for a bus"], ["the red bus"]])
    n_best = [["a cat", "a dog runs on the grass", "a dog runs"], ["two men wait for a bus"], ["a", "the red bus"]]
    assert oracle(built, n_best, built.names[-1]) == [
        "a dog runs on the grass",
        "two men wait for a bus",
        "the red bus",
    ]


def test_oracle_picks_the_first_of_equally_good_captions():
    assert oracle(RougeL([["a dog"]]), [["a cat", "a bus", "men"]], "ROUGE-L") == ["a cat"]


def test_oracle_picks_the_first_of_captions_whose_scores_differ_by_rounding(monkeypatch: pytest.MonkeyPatch):
    scores = iter([0.3, 0.1 + 0.2])
    monkeypatch.setattr(RougeL, "scores", staticmethod(lambda totals: np.full((1, 1), next(scores))))
    assert oracle(RougeL([["a dog"]]), [["a cat", "a bus"]], "ROUGE-L") == ["a cat"]


def test_oracle_refuses_wrong_input():
    rouge = RougeL([["a dog"], ["a cat"]])
    with pytest.raises(InputError, match="expected one of ROUGE-L; found 'CIDEr'"):
        oracle(rouge, [["a"], ["b"]], "CIDEr")
    with pytest.raises(InputError, match="at least one caption of each image; 1 of 2 have none"):
        oracle(rouge, [["a"], []], "ROUGE-L")
    with pytest.raises(InputError, match="a list of 2 candidates"):
        oracle(rouge, [["a"]], "ROUGE-L")
    with pytest.raises(InputError, match="a list of 2 candidates"):
        oracle(rouge, [], "ROUGE-L")


def test_a_summary_counts_empty_and_repeated_captions():
    found = summary(["a dog", "a dog", "", "a cat on the"])
    assert found == {
        "empty": 1,
        "mean_length": 2.0,
        "vocabulary": 5,
        "distinct-1": 5 / 8,
        "distinct-2": 4 / 8,
        "different": 3,
        "bad_endings": 0.25,
        "repetitions": 0.0,
    }
