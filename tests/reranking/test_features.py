from __future__ import annotations

import math

import numpy as np
import pytest

from captioning.errors import InputError
from captioning.reranking.features import FEATURES, sentence_features, words_said


def test_the_sixteen_features_of_three_sentences() -> None:
    found = sentence_features([-6.0, -4.0, -9.0], [3, 2, 0], [0, 10, 11], [0.5, -0.25, 0.0])
    zeros = [0.0] * 9
    expected = [
        [-6.0, 3.0, -2.0, math.log(2), 1.0, *zeros, 0.0, 0.5],
        [-4.0, 2.0, -2.0, math.log(1), 0.0, *zeros, 1.0, -0.25],
        [-9.0, 0.0, -9.0, math.log(3), 0.0, *zeros, 0.0, 0.0],
    ]
    assert len(FEATURES) == len(set(FEATURES)) == 16
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_of_equal_log_likelihoods_the_first_has_the_lower_rank() -> None:
    ranks = np.exp(sentence_features([-2.0, -1.0, -1.0], [1, 1, 1], [0, 0, 0], [0, 0, 0])[:, 3])
    np.testing.assert_allclose(ranks, [3, 1, 2])


def test_each_detected_word_counts_once() -> None:
    assert words_said(["a", "dog", "and", "a", "red", "dog"], {"dog", "red", "cat"}) == 2


def test_arguments_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"found \(2, 1, 2, 2\)"):
        sentence_features([-1.0, -2.0], [1], [0, 0], [0.0, 0.0])
