"""Regions in context: the noisy-OR, with a term of the whole image in each region's logit."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from captioning.encoders.detectors import NoisyOr, NoisyOrInContext
from captioning.encoders.features import ImageFeatures


def made() -> tuple[NoisyOrInContext, ImageFeatures]:
    torch.manual_seed(1)
    detector = NoisyOrInContext(feature_size=5, vocab_size=11).double()
    for weight in detector.parameters():
        torch.nn.init.normal_(weight)
    grid, mask = torch.randn(3, 7, 5).double(), torch.arange(7) < torch.tensor([[7], [4], [1]])
    return detector, ImageFeatures(torch.randn(3, 5).double(), grid, mask)


def test_probabilities_are_one_minus_the_product_over_real_regions():
    detector, features = made()
    w, v, u = (x.detach() for x in (detector.head.weight, detector.context.weight, detector.head.bias))
    p, maps = detector(features), detector.maps(features)
    for i, count in enumerate((7, 4, 1)):
        for word in range(11):
            absent = 1.0
            for j in range(count):
                z = float(w[word] @ features.grid[i, j] + v[word] @ features.pooled[i] + u[word])
                assert maps[i, j, word].item() == pytest.approx(1 / (1 + math.exp(-z)), rel=1e-12)
                absent *= 1 - maps[i, j, word].item()
            assert p[i, word].item() == pytest.approx(1 - absent, rel=1e-10)
        assert (maps[i, count:] == 0).all()


def test_without_context_it_is_the_noisy_or():
    detector, features = made()
    torch.nn.init.zeros_(detector.context.weight)
    plain = NoisyOr(feature_size=5, vocab_size=11).double()
    plain.head.load_state_dict(detector.head.state_dict())
    assert_close(detector.log_probs(features), plain.log_probs(features), rtol=0, atol=0)


def test_an_untrained_detector_gives_each_word_its_frequency():
    detector = NoisyOrInContext(feature_size=5, vocab_size=11).double()
    _, features = made()
    frequencies = torch.linspace(0.001, 0.95, 11).double()
    full = ImageFeatures(features.pooled, features.grid)
    detector.start(frequencies, full)
    assert_close(detector(full), frequencies.expand(3, 11))
