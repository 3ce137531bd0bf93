from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from captioning.errors import InputError
from captioning.metrics.word_counts import WordCounts, count_words

DOGS = ["a dog runs", "the dog", "dogs run", "a dog and a dog", "a man 's dog"]


def test_each_reference_with_the_word_counts_once() -> None:
    found = count_words([DOGS, ["a cat"] * 5], ["dog", "a", "cat", "'s", "bird"])
    assert found.words == ("dog", "a", "cat", "'s", "bird")
    assert found.counts.tolist() == [[4, 3, 0, 1, 0], [0, 5, 5, 0, 0]]
    assert found.occur.tolist() == [True, True, True, True, False]


def test_the_counts_of_words_that_occur_keep_what_is_ignored() -> None:
    ignored = np.array([[False, True, False], [False, False, True]])
    found = WordCounts(("a", "b", "c"), np.array([[0, 0, 2], [0, 1, 0]]), ignored).occurring
    assert (found.words, found.counts.tolist()) == (("b", "c"), [[0, 2], [1, 0]])
    assert found.ignored is not None
    assert found.ignored.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("ignored", [np.array([[True, False]]), np.array([[True], [False]])])
def test_ignored_pairs_of_another_shape_or_with_a_count_are_refused(ignored: Any) -> None:
    with pytest.raises(InputError, match="expected ignored pairs of 1 images and 2 words, with counts of 0"):
        WordCounts(("a", "b"), np.array([[3, 0]]), ignored)


def test_of_more_references_the_first_five_count() -> None:
    assert count_words([[*DOGS, "a bird", "a dog"]], ["bird", "dog"]).counts.tolist() == [[0, 4]]


def test_images_with_fewer_references_are_refused_and_counted() -> None:
    with pytest.raises(
        InputError, match="5 references of each image; 2 of 3 images have fewer: leave these images out"
    ):
        count_words([DOGS, DOGS[:4], []], ["dog"])


@pytest.mark.parametrize(
    ("words", "counts", "message"),
    [
        (("a",), np.zeros((0, 1), int), r"at least one of each; found int64 of the shape \(0, 1\)"),
        ((), np.zeros((2, 0), int), r"0 words\), at least one of each"),
        (
            ("a",),
            np.zeros((2, 3), int),
            r"\(images, 1 words\), at least one of each; found int64 of the shape \(2, 3\)",
        ),
        (("a", "b"), np.zeros(2, int), r"found int64 of the shape \(2,\)"),
        (("a",), np.zeros((2, 1)), "expected counts as integers.*found float64"),
        (("a", "b", "a"), np.zeros((2, 3), int), "expected 3 different words, found 2"),
        (("a",), np.array([[6], [2]]), "from 0 to 5 references; found 2 to 6"),
        (("a",), np.array([[-1], [2]]), "from 0 to 5 references; found -1 to 2"),
    ],
)
def test_wrong_counts_are_refused(words: Any, counts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        WordCounts(words, counts)
