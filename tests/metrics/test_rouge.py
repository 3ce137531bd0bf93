from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.metrics.rouge import BETA, RougeL, _common_length

WORDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=70)  # longer than a machine word has bits


@given(WORDS, WORDS)
def test_common_length_equals_that_of_the_table(candidate: list[str], reference: list[str]):
    table = np.zeros((len(candidate) + 1, len(reference) + 1), int)
    for i, token in enumerate(candidate):
        for j, other in enumerate(reference):
            table[i + 1, j + 1] = table[i, j] + 1 if token == other else max(table[i, j + 1], table[i + 1, j])
    masks = {token: sum(1 << i for i, other in enumerate(candidate) if other == token) for token in candidate}
    assert _common_length(masks, len(candidate), reference) == table[-1, -1]


def test_rouge_equals_a_worked_example():
    # "the dog runs": 3 of 4 tokens, and 3 of 5.
    rouge = RougeL([["the big dog runs away"]])
    precision, recall = 3 / 4, 3 / 5
    expected = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    assert rouge.scores(rouge.statistics(["the dog runs fast"])[0]) == pytest.approx([expected])


def test_precision_and_recall_may_be_of_different_references():
    rouge = RougeL([["a b c d e f g h", "a"]])  # P = 4 / 4 by the first, R = 1 by the second
    assert rouge.scores(rouge.statistics(["a b c d"])[0]) == pytest.approx([1])


def test_corpus_is_the_mean():
    rouge = RougeL([["a dog"], ["a cat"]])
    statistics = rouge.statistics(["a dog", "the bus"])
    assert rouge.scores(statistics).tolist() == [[1], [0]]
    assert rouge.scores(statistics.sum(axis=0)) == pytest.approx([1 / 2])
