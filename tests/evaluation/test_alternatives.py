"""What is said of the several captions of an image."""

from __future__ import annotations

import numpy as np
import pytest

from captioning.evaluation.alternatives import describe_alternatives
from captioning.metrics import CocoScorer

REFERENCES = [
    ["a red ball is on the box", "the red ball"],
    ["a blue box is near a tree", "the box is blue"],
    ["a tree is by a small house", "one tree"],
]


def test_one_caption_of_each_image_is_not_described() -> None:
    assert describe_alternatives([["a ball"], [], ["a tree"]], REFERENCES) == {}


def test_the_oracle_is_the_best_of_all_choices() -> None:
    captions = [
        ["a red ball", "A red ball is on the box.", "a tree"],
        ["a blue box", "a blue box is near a house"],
        ["a house", "a tree is by a small dog", "a ball"],
    ]
    found = describe_alternatives(captions, REFERENCES)
    scorer = CocoScorer(dict(enumerate(REFERENCES)), metrics=("CIDEr",))
    each = [
        [
            scorer.score({i: choice if i == image else "" for i in range(3)}).per_image[image]["CIDEr"]
            for choice in captions[image]
        ]
        for image in range(3)
    ]
    assert found["oracle CIDEr"] == pytest.approx(np.mean([max(own) for own in each]))
    assert found["per_image"] == pytest.approx(8 / 3)


def test_equal_captions_are_not_different_and_have_no_diversity() -> None:
    equal = describe_alternatives([["a red ball", "A red ball."]] * 3, REFERENCES)
    assert equal["different"] == pytest.approx(0.5)
    assert equal["self-CIDEr"] == pytest.approx(0, abs=1e-9)
    assert equal["oracle BLEU-4"] == pytest.approx(
        CocoScorer(dict(enumerate(REFERENCES)), metrics=("BLEU",))
        .score(dict.fromkeys(range(3), "a red ball"))
        .corpus["BLEU-4"]
    )
    varied = describe_alternatives([["a red ball", "one tree"]] * 3, REFERENCES)
    assert varied["different"] == 1
    assert varied["self-CIDEr"] > 0.5


def test_images_with_fewer_captions_count_with_those_they_have() -> None:
    found = describe_alternatives([["a red ball", "the red ball"], [], ["one tree"]], REFERENCES)
    assert found["per_image"] == 1
    assert found["different"] == 1
    scorer = CocoScorer(dict(enumerate(REFERENCES)), metrics=("CIDEr",))
    best = max(
        scorer.score({0: choice, 1: "", 2: "one tree"}).corpus["CIDEr"] for choice in ("a red ball", "the red ball")
    )
    assert found["oracle CIDEr"] == pytest.approx(best)
