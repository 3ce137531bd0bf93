"""The scores of sizes in a word detector's result, and what is said of pairs that are ignored."""

from __future__ import annotations

import numpy as np
import pytest

from captioning.metrics.word_counts import WordCounts
from captioning.metrics.word_detection import ALL, evaluate
from captioning.metrics.word_sizes import WordSizes
from captioning.reports.scores import ScoreResult
from captioning.reports.word_sizes import with_sizes

RESULT = ScoreResult(
    scores={"AP": 0.5}, details={"AP NN": 0.4}, intervals={}, signature={"data": "scenes", "num_images": 7}, notes=["a"]
)
COUNTS = WordCounts(("dog", "on", "cat"), np.array([[5, 1, 0], [2, 0, 0], [4, 0, 1], [0, 2, 0], [3, 5, 0]] * 5))
SIZES = WordSizes((0.1, 0.25), np.array([[1, 0, 0], [5, 0, 0], [4, 0, 1], [0, 0, 0], [0, 0, 0]] * 5, np.uint8))
SCORES = np.random.default_rng(0).random(COUNTS.counts.shape)


def test_each_size_has_ap_and_chance_with_intervals_beside_what_the_result_has() -> None:
    found = with_sizes(RESULT, COUNTS, SCORES, SIZES)
    assert found.scores == RESULT.scores
    assert list(found.details) == ["AP NN", "AP small", "chance small", "AP large", "chance large"]
    for size, counts in SIZES.within(COUNTS).items():
        means = evaluate(counts, SCORES).means()[ALL]
        for value in ("AP", "chance"):
            interval = found.intervals[f"{value} {size}"]
            assert found.details[f"{value} {size}"] == interval.score == pytest.approx(means[value])
            assert interval.low < interval.score < interval.high
    assert found.signature == {**RESULT.signature, "area_limits": [0.1, 0.25]}


def test_limits_and_ignored_pairs_are_said() -> None:
    first, limits, *sizes = with_sizes(RESULT, COUNTS, SCORES, SIZES).notes
    assert first == "a"
    assert "small up to 10.00 % of the image's area, medium up to 25.00 %, and large above" in limits
    assert sizes == [
        "AP small: 2 words in 15 pairs of an image and a word; 10 pairs that mention no small object are ignored",
        "AP large: 1 words in 10 pairs of an image and a word; 15 pairs that mention no large object are ignored",
        "AP medium: no word mentions a medium object",
        "sizes: 5 of the ignored pairs mention no object with a box, and are ignored for every size",
    ]
