"""METEOR is computed from statistics as in the jar and the paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.metrics.meteor_universal.score import NUM_STATISTICS, additive, score

CANDIDATES = ["a dog runs", "a large dog sits", "two men", "a red bus", "", "nothing", "a man rides a horse"]
REFERENCES = [
    ["the dog is running", "a dog runs"],
    ["the big hound sat"],
    ["a man", "some men"],
    ["the red bus ."],
    ["a cat"],
    ["at all"],
    ["a horse and a man"],
]


def statistics(**counts: int) -> np.ndarray:
    """Build the statistics of one image; counts that are not given are 0."""
    row = np.zeros(NUM_STATISTICS)
    for name, column in {"words": 0, "reference_words": 1, "function": 2, "reference_function": 3}.items():
        row[column] = counts.get(name, 0)
    row[4:6] = counts.get("exact", 0)
    row[6:8] = counts.get("exact_function", 0)
    row[8:10] = counts.get("stem", 0)
    row[12:14] = counts.get("synonym", 0)
    row[16], row[17] = counts.get("paraphrase", 0), counts.get("reference_paraphrase", 0)
    row[20] = counts.get("chunks", 0)
    return row


def test_scores_equal_the_jars(jar: Callable[..., Any]):
    rows, scores, corpus = jar(CANDIDATES, REFERENCES)
    assert rows.shape == (len(CANDIDATES), NUM_STATISTICS)
    np.testing.assert_allclose(score(rows), scores, rtol=0, atol=1e-12)
    assert score(rows.sum(0)) == pytest.approx(corpus, abs=1e-12)


def test_corpora_with_perfect_matches_equal_the_jars(jar: Callable[..., Any]):
    rows, scores, corpus = jar(["a dog runs"] * 3 + ["two men"], [["a dog runs"]] * 3 + [["men in two"]])
    assert scores[0] == 1
    assert score(rows.sum(0)) == pytest.approx(corpus, abs=1e-12)


def test_score_is_the_papers_formula():
    row = statistics(words=7, reference_words=11, function=2, reference_function=3)
    row += statistics(exact=2, exact_function=1, stem=1, synonym=1, paraphrase=1, reference_paraphrase=2, chunks=3)
    # A content word weighs 0.75, a function word 0.25; exact 1, stem 0.6, synonym 0.8, paraphrase 0.6.
    precision = (0.75 * (2 + 0.6 + 0.8 + 0.6) + 0.25) / (0.75 * 5 + 0.25 * 2)
    recall = (0.75 * (2 + 0.6 + 0.8 + 2 * 0.6) + 0.25) / (0.75 * 8 + 0.25 * 3)
    f_mean = precision * recall / (0.85 * precision + 0.15 * recall)
    penalty = 0.6 * (3 / 6.5) ** 0.2  # 6 words of one sentence and 7 of the other match
    assert score(row) == pytest.approx((1 - penalty) * f_mean, abs=1e-12)


def test_a_perfect_match_counts_no_chunk():
    perfect = additive(statistics(words=3, reference_words=3, exact=3, chunks=1))
    assert perfect[-1] == 0
    assert score(perfect) == 1
    rest = additive(statistics(words=3, reference_words=4, exact=3, chunks=1))
    assert rest[-1] == 1
    moved = additive(statistics(words=3, reference_words=3, exact=3, chunks=2))
    assert moved[-1] == 2


def test_nothing_matched_scores_0():
    assert score(statistics()) == 0
    assert score(statistics(words=3, reference_words=4, function=1)) == 0
    assert score(statistics(words=3)) == 0


@given(st.lists(st.lists(st.integers(0, 9), min_size=18, max_size=18), min_size=1, max_size=5))
def test_each_row_is_scored_by_itself(matched: list[list[int]]):
    rows = np.array([[40, 44, 20, 22, *counts[:16], counts[16] % 3 + 1] for counts in matched], dtype=np.float64)
    found = score(rows)
    assert found.shape == (len(rows),)
    np.testing.assert_array_equal(score(rows[None, :]), found[None, :])
    for row, expected in zip(rows, found, strict=True):
        assert score(row) == expected


def test_a_wrong_shape_is_reported():
    with pytest.raises(InputError, match=r"shape \(\.\.\., 21\), found \(3, 23\)"):
        score(np.zeros((3, 23)))
