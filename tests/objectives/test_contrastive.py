"""The contrastive loss; its rules as a loss of pairs are in test_pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.errors import InputError
from captioning.matchers import SentenceVector
from captioning.objectives import Contrastive


def test_a_matcher_that_tells_nothing_apart_pays_for_a_guess(features, batch):
    matcher = SentenceVector(feature_size=13, vocab_size=11, recurrent=None)
    for weight in (matcher.image.weight, matcher.head.weight):
        torch.nn.init.zeros_(weight)
    full = collate(("x", "y", "z"), [[[1, 4, 2], [1, 5, 2]], [[1, 6, 2]], [[1, 7, 2], [1, 8, 2]]], pad=0)
    loss = Contrastive(eos=2)(matcher, features, full)
    # Among 3 images; among the caption itself and those of the other images: 1 + 3, 1 + 3, 1 + 4, 1 + 3, 1 + 3.
    assert_close(loss.item(), math.log(3) + (4 * math.log(4) + math.log(5)) / 5)


def test_gamma_is_a_factor_of_the_scores(features, batch):
    torch.manual_seed(0)
    matcher = SentenceVector(feature_size=13, vocab_size=11, recurrent=None)
    plain = Contrastive(eos=2, gamma=7.0)(matcher, features, batch)
    similarity = matcher.similarity
    matcher.similarity = lambda images, sentences: 7 * similarity(images, sentences)
    assert_close(Contrastive(eos=2, gamma=1.0)(matcher, features, batch), plain)


@pytest.mark.parametrize("gamma", [0.0, -3.0, float("nan")])
def test_a_gamma_that_is_not_positive_is_refused(gamma):
    with pytest.raises(InputError, match=r"gamma=.* must be positive"):
        Contrastive(eos=2, gamma=gamma)
