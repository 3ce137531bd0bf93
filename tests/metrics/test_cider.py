from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocoevalcap.cider import cider as reference

from captioning.errors import InputError
from captioning.metrics.cider import Cider, DocumentFrequencies
from captioning.metrics.ngrams import ReferenceNGrams

CAPTION = st.lists(st.sampled_from(["a", "dog", "runs", "on", "é"]), max_size=8).map(" ".join)
GROUP = st.lists(CAPTION, min_size=1, max_size=4)

REFERENCES = [
    ["a dog runs on the grass", "the dog runs", "a dog"],
    ["a red bus", "the red bus on a street"],
    ["two men wait for a bus"],
    ["a cat on the grass", ""],
]
CANDIDATES = ["a dog on the street", "the red bus", "a zebra and a zebra", ""]


def scores(cider: Cider, candidates: list[str]) -> list[float]:
    scores: list[float] = cider.scores(cider.statistics(candidates))[:, 0].tolist()
    return scores


def test_cider_equals_a_worked_example():
    # Two images with nothing in common but "a": each n-gram of the first has weight log 2, "a" has 0. The candidate
    # shares "dog", its only word with a weight, with the reference's 2, and 1 bigram of 1 with the reference's 2.
    cider = Cider([["a dog runs"], ["a cat"]])
    penalty = math.exp(-(1**2) / (2 * 6**2))
    expected = 10 / 4 * penalty * (1 / math.sqrt(2) + 1 / math.sqrt(2))
    assert scores(cider, ["a dog", "a cow"]) == pytest.approx([expected, 0])


def test_the_references_themselves_score_ten():
    cider = Cider([["a dog runs on grass"], ["the red bus drives away"]])
    assert scores(cider, ["a dog runs on grass", "the red bus drives away"]) == pytest.approx([10, 10])


def test_one_image_scores_nothing_without_frequencies_of_others():
    cider = Cider([["a dog runs on grass"]])
    assert scores(cider, ["a dog runs on grass"]) == [0]


def test_counted_references_give_the_same_scores():
    ngrams = ReferenceNGrams(REFERENCES)
    assert scores(Cider(ngrams), CANDIDATES) == scores(Cider(REFERENCES), CANDIDATES)
    assert DocumentFrequencies.of(ngrams) == DocumentFrequencies.of(REFERENCES)


@given(st.lists(st.tuples(CAPTION, GROUP), min_size=1, max_size=5))
def test_an_image_alone_scores_as_among_the_counted_images(images: list[tuple[str, list[str]]]):
    references = [group for _, group in images]
    frequencies = DocumentFrequencies.of(references)
    together = scores(Cider(references), [caption for caption, _ in images])
    for expected, (caption, group) in zip(together, images, strict=True):
        assert scores(Cider([group], frequencies), [caption]) == pytest.approx([expected], rel=0, abs=1e-12)


def test_frequencies_count_the_images_of_ngrams_that_occur_in_several():
    assert DocumentFrequencies.of([["a dog", "the dog"], ["a dog", "a cat"], ["the a dog"]]) == DocumentFrequencies(
        num_images=3, counts={"a": 3, "dog": 3, "the": 2, "a dog": 3}
    )


@given(st.lists(GROUP, min_size=1, max_size=5))
def test_ngrams_of_one_image_need_no_frequency(references: list[list[str]]):
    frequencies = DocumentFrequencies.of(references)
    scorer = reference.CiderScorer()
    for group in references:
        scorer += (None, group)
    scorer.compute_doc_freq()
    every = {" ".join(ngram): int(count) for ngram, count in scorer.document_frequency.items()}
    assert frequencies.counts == {ngram: count for ngram, count in every.items() if count > 1}
    candidates = ["a dog runs on a dog"] * len(references)
    with_all = Cider(references, DocumentFrequencies(len(references), every))
    assert scores(with_all, candidates) == scores(Cider(references, frequencies), candidates)


def test_frequencies_of_other_references_weight_words_that_these_lack():
    # "the" is in all counted images and "zebra" in none, so their weights in the candidate's norm differ.
    frequencies = DocumentFrequencies(num_images=5, counts={"the": 5, "a": 3})
    one, other = Cider([["a dog"]] * 2, frequencies).rewards(["the dog", "zebra dog"], np.array([0, 1]))
    assert one > other > 0


@given(st.lists(st.tuples(st.integers(0, 3), CAPTION), max_size=9))
def test_rewards_are_the_scores_of_any_captions_of_any_images(sampled: list[tuple[int, str]]):
    cider = Cider(REFERENCES)
    rewards = cider.rewards([caption for _, caption in sampled], np.array([image for image, _ in sampled], int))
    for reward, (image, caption) in zip(rewards, sampled, strict=True):
        candidates = [""] * len(REFERENCES)
        candidates[image] = caption
        assert reward == pytest.approx(scores(cider, candidates)[image], rel=0, abs=1e-12)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([0], r"an image for each of 2 captions; found shape \(1,\)"),
        ([0, 4], "rows 0 to 3 of the references; found 0 to 4 of dtype int64"),
        ([-1, 0], "rows 0 to 3 of the references; found -1 to 0 of dtype int64"),
        ([0.0, 1.0], "rows 0 to 3 of the references; found 0.0 to 1.0 of dtype float64"),
    ],
)
def test_wrong_images_are_refused(images: Any, message: str):
    with pytest.raises(InputError, match=message):
        Cider(REFERENCES).rewards(["a dog", "a cat"], np.array(images))


def test_frequencies_are_read_as_they_were_written(tmp_path: Path):
    frequencies = DocumentFrequencies.of([["un café", "a dog"], ["le café", "a dog"]])
    frequencies.save(tmp_path / "frequencies.json")
    assert DocumentFrequencies.load(tmp_path / "frequencies.json") == frequencies
    assert "café" in (tmp_path / "frequencies.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"num_images": 1},
            "missing required field `counts`.* expected document frequencies, with 'num_images' and 'counts'",
        ),
        ({"num_images": 1, "counts": []}, "Expected `object`, got `array`"),
        ({"num_images": 0, "counts": {}}, "Expected `int` >= 1"),
        ({"num_images": "2", "counts": {}}, "Expected `int`, got `str`"),
        ({"num_images": 2, "counts": {"a": 3}}, "each n-gram in 1 to 2 images, found 'a' in 3"),
        ({"num_images": 2, "counts": {"a": 1.5}}, "Expected `int`, got `float`"),
    ],
)
def test_wrong_frequencies_are_refused(tmp_path: Path, content: Any, message: str):
    path = tmp_path / "frequencies.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        DocumentFrequencies.load(path)
