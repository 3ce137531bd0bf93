from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.metrics.ranking import Retrieval, marginal, retrieve_images, retrieve_sentences

# Two images, three sentences; the last two are the second image's. Probabilities in powers of 2.
LOG_PROBABILITY = np.log([[1 / 4, 1 / 2, 1 / 64], [1 / 2, 1 / 2, 1 / 16]])
IMAGE_INDEX = [0, 1, 1]


def test_images_are_ranked_by_the_probability_of_the_sentence():
    # The first sentence is more probable with the other image (rank 2), the second equally (a tie: 2), the third less.
    assert retrieve_images(LOG_PROBABILITY, IMAGE_INDEX) == Retrieval({1: 1 / 3, 5: 1, 10: 1}, 2)


def test_sentences_are_ranked_by_how_much_the_image_raises_their_probability():
    log_marginal = marginal(LOG_PROBABILITY)
    assert np.exp(log_marginal) == pytest.approx([3 / 8, 1 / 2, 5 / 128])
    # P(w | I) / P(w) is (2/3, 1, 2/5) for the first image, whose sentence comes second; (4/3, 1, 8/5) for the other.
    assert retrieve_sentences(LOG_PROBABILITY, IMAGE_INDEX, log_marginal) == Retrieval({1: 1 / 2, 5: 1, 10: 1}, 1.5)
    # By P(w | I) alone, the common second sentence would come before the first image's, and tie with the rare third.
    by_probability = retrieve_sentences(LOG_PROBABILITY, IMAGE_INDEX, np.zeros(3))
    assert by_probability == Retrieval({1: 0, 5: 1, 10: 1}, 2)


def test_a_model_with_constant_scores_retrieves_nothing():
    scores = np.full((20, 40), -7.0)
    index = np.repeat(np.arange(20), 2)
    assert retrieve_images(scores, index) == Retrieval({1: 0, 5: 0, 10: 0}, 20)
    assert retrieve_sentences(scores, index, marginal(scores)) == Retrieval({1: 0, 5: 0, 10: 0}, 39)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_a_model_that_does_not_see_the_image_retrieves_nothing_whatever_is_rounded(kind: type[np.floating[Any]]):
    generator = np.random.default_rng(0)
    of_sentence = generator.uniform(-300, -5, 60)  # equal for every image, except for the rounding of the last digit
    scores = of_sentence * (1 + generator.choice([-1, 0, 1], (30, 60)) * np.finfo(kind).eps)
    index = np.repeat(np.arange(30), 2)
    assert retrieve_images(scores, index).recall == {1: 0, 5: 0, 10: 0}
    assert retrieve_sentences(scores, index, marginal(scores)).recall == {1: 0, 5: 0, 10: 0}


def test_a_small_true_difference_counts():
    scores = np.where(np.eye(20, dtype=bool), -5.0, -5.001)
    assert retrieve_images(scores, np.arange(20)).recall[1] == 1
    assert retrieve_sentences(scores, np.arange(20), marginal(scores)).recall[1] == 1


def test_a_perfect_model_retrieves_all():
    index = np.repeat(np.arange(20), 2)
    scores = np.where(np.arange(20)[:, None] == index, -5.0, -500.0)
    perfect = Retrieval({1: 1, 5: 1, 10: 1}, 1)
    assert retrieve_images(scores, index) == perfect
    assert retrieve_sentences(scores, index, marginal(scores)) == perfect


@given(st.integers(1, 7), st.lists(st.integers(0, 6), max_size=12), st.integers(0, 2**32 - 1))
def test_ranks_equal_those_of_a_sorted_list(num_images: int, extra: list[int], seed: int):
    index = [*range(num_images), *(image % num_images for image in extra)]
    scores = np.random.default_rng(seed).normal(size=(num_images, len(index)))  # without ties
    of_sentences = [sorted(-scores[:, n]).index(-scores[image, n]) + 1 for n, image in enumerate(index)]
    found = retrieve_images(scores, index)
    assert found.recall == {k: pytest.approx(np.mean([rank <= k for rank in of_sentences])) for k in (1, 5, 10)}
    assert found.median_rank == np.median(of_sentences)

    of_images = []
    for image in range(num_images):
        ranking = np.argsort(-scores[image])
        of_images.append(1 + min(place for place, n in enumerate(ranking) if index[n] == image))
    found = retrieve_sentences(scores, index, np.zeros(len(index)))
    assert found.recall == {k: pytest.approx(np.mean([rank <= k for rank in of_images])) for k in (1, 5, 10)}
    assert found.median_rank == np.median(of_images)


def test_marginal_of_long_sentences_does_not_vanish():
    log_probability = np.array([[-2000.0, -3000.0], [-2000.0, -3001.0]])
    expected = [-2000, -3000 + np.log((1 + np.exp(-1)) / 2)]
    assert marginal(log_probability) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "index", "message"),
    [
        (np.zeros(3), [0, 0, 0], r"found the shapes \(3,\) and \(3,\)"),
        (np.zeros((0, 0)), np.zeros(0, int), r"at least one of each; found the shapes \(0, 0\) and \(0,\)"),
        (np.zeros((2, 3)), [0, 1], r"found the shapes \(2, 3\) and \(2,\)"),
        (np.zeros((2, 2)), [0, 2], "rows 0 to 1 of log_probability; found 0 to 2 of dtype int64"),
        (np.zeros((2, 2)), [0, -1], "rows 0 to 1 of log_probability; found -1 to 0"),
        (np.zeros((2, 2)), [0.0, 1.0], "found 0.0 to 1.0 of dtype float64"),
        (np.array([[0, np.nan], [-np.inf, 0]]), [0, 1], "finite log-probabilities; 2 of 4 are not"),
    ],
)
def test_wrong_scores_are_refused(scores: Any, index: Any, message: str):
    with pytest.raises(InputError, match=message):
        retrieve_images(scores, index)
    with pytest.raises(InputError, match=message):
        retrieve_sentences(scores, index, np.zeros(len(index)))


def test_an_image_without_a_sentence_is_refused():
    with pytest.raises(InputError, match="a sentence for each image; 1 of 2 images have none"):
        retrieve_sentences(np.zeros((2, 2)), [0, 0], np.zeros(2))


@pytest.mark.parametrize("log_marginal", [np.zeros(2), np.array([0, 0, np.nan])])
def test_wrong_marginals_are_refused(log_marginal: Any):
    with pytest.raises(InputError, match="log_marginal as 3 finite numbers, one for each sentence"):
        retrieve_sentences(LOG_PROBABILITY, IMAGE_INDEX, log_marginal)
