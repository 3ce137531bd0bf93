"""An image gets the words that are precise enough, and its first content words in any case."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from captioning.encoders.detectors import FUNCTION_WORDS, given_out

VOCABULARY = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "dog", "the", "cat", "red", "in", "bird"]


def words(precisions: dict[str, float], **settings: float) -> list[str]:
    row = torch.tensor([[precisions.get(word, 0.0) for word in VOCABULARY]])
    (ids,) = given_out(row, VOCABULARY, **settings)
    return [VOCABULARY[i] for i in ids]


def test_all_words_above_the_threshold_are_given_out_the_most_precise_first():
    precisions = {"dog": 0.6, "cat": 0.9, "red": 0.7, "bird": 0.5, "a": 0.99, "in": 0.1, "the": 0.2}
    assert words(precisions) == ["a", "cat", "red", "dog", "bird"]
    assert words(precisions, threshold=0.65, least=0) == ["a", "cat", "red"]


def test_three_content_words_are_given_out_however_imprecise():
    assert words({"dog": 0.3, "cat": 0.2, "red": 0.1, "bird": 0.05}) == ["dog", "cat", "red"]
    assert words({"dog": 0.3, "cat": 0.2, "red": 0.1, "bird": 0.05}, least=1) == ["dog"]


def test_function_words_do_not_count_and_are_kept_up_to_the_fourth_content_word():
    assert words({"a": 0.4, "dog": 0.3, "in": 0.25, "cat": 0.2, "red": 0.1, "the": 0.06, "bird": 0.05}) == [
        "a", "dog", "in", "cat", "red", "the"
    ]  # fmt: skip


def test_special_tokens_are_never_given_out_and_do_not_count():
    assert words({"<unk>": 0.99, "<eos>": 0.9, "dog": 0.3, "cat": 0.2, "red": 0.1, "bird": 0.05}) == [
        "dog",
        "cat",
        "red",
    ]


def test_words_of_equal_precision_are_in_the_order_of_their_ids():
    assert words({"bird": 0.1, "dog": 0.9, "cat": 0.9, "red": 0.9, "a": 0.9}) == ["a", "dog", "cat", "red"]


def test_the_function_words_are_those_of_the_official_code():
    assert len(FUNCTION_WORDS) == 14
    assert {"a", "two", "next", "are"} < FUNCTION_WORDS


@given(st.lists(st.permutations(range(7)), min_size=2, max_size=3), st.floats(0, 1), st.integers(0, 4))
def test_the_words_equal_the_official_procedure(orders: list[list[int]], threshold: float, least: int):
    # Differing precisions, because the official sort leaves the order of equal ones open.
    precisions = torch.tensor(orders).double() / 7
    vocabulary = VOCABULARY[4:]
    found = given_out(precisions, vocabulary, threshold=threshold, least=least)
    is_content = np.array([word not in FUNCTION_WORDS for word in vocabulary])
    for row, ids in zip(precisions.numpy(), found, strict=True):
        order = np.argsort(row)[::-1]
        contents = 0
        expected = []
        for i in order:
            contents += is_content[i]
            if row[i] >= threshold or contents < 1 + least:
                expected.append(i)
        assert ids == expected
