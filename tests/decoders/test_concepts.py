"""The detected words of an image, as token ids."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from captioning.decoders.concepts import Concepts
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

IDS = (8, -1, 5, 4)
FEATURES = ImageFeatures(
    torch.zeros(3, 1), words=torch.tensor([[0.5, 0.9, 0.4, 0.7], [0.1, 0.9, 0.6, 0.2], [0.0, 0.99, 0.0, 0.0]])
)


def test_words_from_the_threshold_on_are_detected_the_most_probable_first():
    words, log_scores = Concepts(IDS, 0.5).detected(FEATURES)
    assert words[0].tolist() == [4, 8]
    assert words[1, 0].item() == 5
    torch.testing.assert_close(log_scores.exp(), torch.tensor([[0.7, 0.5], [0.6, 0.0], [0.0, 0.0]]))


def test_words_that_the_vocabulary_lacks_are_counted_and_never_detected():
    assert Concepts(IDS, 0.5).num_absent == 1
    words, log_scores = Concepts((-1, -1, -1, -1), 0.01).detected(FEATURES)
    assert words.shape == log_scores.shape == (3, 0)


def test_without_concepts_nothing_is_detected_and_the_words_are_not_read():
    for features in (FEATURES, replace(FEATURES, words=None)):
        words, log_scores = Concepts((), 0.5).detected(features)
        assert words.shape == log_scores.shape == (3, 0)
        assert words.dtype == torch.int64


def test_no_gradient_is_lost_or_undefined():
    words = FEATURES.words.clone().requires_grad_()
    log_scores = Concepts(IDS, 0.5).detected(replace(FEATURES, words=words))[1]
    log_scores[log_scores > -torch.inf].sum().backward()
    expected = torch.zeros(3, 4)
    expected[0, 0], expected[0, 3], expected[1, 2] = 1 / 0.5, 1 / 0.7, 1 / 0.6
    torch.testing.assert_close(words.grad, expected)


def test_features_of_another_detector_are_refused():
    with pytest.raises(InputError, match="the features have none; use an encoder with a word detector"):
        Concepts(IDS, 0.5).detected(replace(FEATURES, words=None))
    with pytest.raises(InputError, match="probabilities of 4 words, expected 3"):
        Concepts(IDS[:3], 0.5).detected(FEATURES)


def test_words_twice_or_outside_the_vocabulary_and_bad_thresholds_are_refused():
    with pytest.raises(InputError, match="token id 5 occurs more than once"):
        Concepts((4, 5, -1, -1, 5), 0.5)
    with pytest.raises(InputError, match="token id 8 is outside the vocabulary of 8"):
        Concepts(IDS, 0.5).check(8)
    Concepts(IDS, 0.5).check(9)
    for threshold in (0.0, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"threshold=.* must be above 0 and at most 1"):
            Concepts(IDS, threshold)
