"""Consensus re-ranking, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from captioning.errors import InputError
from captioning.metrics.cider import Cider
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.reranking.consensus import CiderSimilarity, consensus, consensus_scores, nearest, overlap

TRAINING = [["a dog runs on grass", "the dog runs fast"], ["a dog sits on grass"], ["a red bus on the street"]]


def test_the_nearest_are_those_of_the_smallest_angle() -> None:
    training = np.array([[9.0, 9.0], [0.0, 1.0], [1.0, 0.1], [0.0, 2.0]])
    found = nearest(np.array([[0.0, 5.0], [3.0, 0.0]]), training, k=3)
    assert found.tolist() == [[1, 3, 0], [2, 0, 1]]
    assert nearest(np.zeros((1, 2)), training, k=9).tolist() == [[0, 1, 2, 3]]


def test_many_images_are_compared_in_parts() -> None:
    random = np.random.default_rng(0)
    features, training = random.standard_normal((601, 5)), random.standard_normal((7, 5))
    cosines = features @ (training / np.linalg.norm(training, axis=1, keepdims=True)).T
    assert (nearest(features, training, k=2)[:, 0] == cosines.argmax(1)).all()


def test_the_overlap_is_the_mean_f_score_of_clipped_ngrams() -> None:
    found = overlap(["a dog runs on grass", "the the dog runs"], ["a dog sits on grass", "the dog runs fast", "a dog"])
    # Words, pairs, triples and quadruples that match, twice, of those of both sides. The last caption is too short.
    first = [(8 / 10 + 4 / 8 + 0 / 6 + 0 / 4) / 4, (4 / 9 + 2 / 7 + 0 / 5 + 0 / 3) / 4, 0]
    second = [(2 / 9 + 0 / 7 + 0 / 5 + 0 / 3) / 4, (6 / 8 + 4 / 6 + 2 / 4 + 0 / 2) / 4, 0]
    np.testing.assert_allclose(found, [first, second], rtol=1e-15)


def test_a_sentence_overlaps_with_itself_completely_and_with_the_empty_one_not_at_all() -> None:
    assert overlap(["a dog runs fast", ""], ["a dog runs fast", ""]).tolist() == [[1, 0], [0, 0]]


def test_cider_takes_each_caption_as_the_only_reference() -> None:
    frequencies = DocumentFrequencies.of(TRAINING)
    captions, hypotheses = [caption for group in TRAINING for caption in group], ["a dog runs", "the red bus", ""]
    expected = [
        [Cider([[caption]], frequencies).statistics([hypothesis])[0, 0] for caption in captions]
        for hypothesis in hypotheses
    ]
    found = CiderSimilarity(frequencies)(hypotheses, captions)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[0, 0] > 0


def test_the_score_is_the_mean_of_the_m_highest_similarities() -> None:
    table = np.array([[0.1, 0.7, 0.4], [0.5, 0.2, 0.3]])
    for m, expected in ((1, [0.7, 0.5]), (2, [0.55, 0.4]), (9, [0.4, 1 / 3])):
        np.testing.assert_allclose(consensus_scores(["x", "y"], ["p", "q", "r"], lambda h, c: table, m), expected)


def test_three_images_choose_the_hypothesis_that_is_most_like_their_neighbours_captions() -> None:
    neighbours = nearest(
        np.array([[1.0, 0.0], [0.1, 1.0], [1.0, 1.1]]), np.array([[2.0, 0.1], [1.0, 1.0], [0, 3.0]]), 2
    )
    assert neighbours.tolist() == [[0, 1], [2, 1], [1, 2]]
    hypotheses = ["a red bus on the street", "a dog runs on grass"]
    scores = consensus([hypotheses] * 3, neighbours, TRAINING, overlap, m=1)
    # The second hypothesis is a caption of the first training image, the first one that of the third.
    bus = (2 * 2 / 11) / 4  # "a" and "on", with either caption of five words that has both
    np.testing.assert_allclose(scores[0], [bus, 1], rtol=1e-15)
    near = (8 / 10 + 4 / 8) / 4
    np.testing.assert_allclose(scores[1:], [[1, near]] * 2, rtol=1e-15)
    assert [int(own.argmax()) for own in scores] == [1, 0, 0]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="of the same width F"):
        nearest(np.zeros((2, 3)), np.zeros((2, 5)))
    with pytest.raises(InputError, match="k=0 must be at least 1"):
        nearest(np.zeros((2, 3)), np.zeros((2, 3)), k=0)
    with pytest.raises(InputError, match="found 0 and m=1"):
        consensus_scores(["a"], [], overlap, 1)
    with pytest.raises(InputError, match="neighbours of each of 2 images, found those of 1"):
        consensus([["a"], ["b"]], np.zeros((1, 2), int), TRAINING, overlap, 1)
