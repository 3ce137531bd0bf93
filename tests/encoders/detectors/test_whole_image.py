"""The classifier of the whole image is logistic regression on the pooled feature."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from captioning.encoders.detectors import WholeImage
from captioning.encoders.features import ImageFeatures


def test_probabilities_are_those_of_logistic_regression_of_the_pooled_feature():
    torch.manual_seed(1)
    detector = WholeImage(feature_size=5, vocab_size=11).double()
    torch.nn.init.normal_(detector.head.weight)
    features = ImageFeatures(torch.randn(3, 5, dtype=torch.float64))
    weight, bias = detector.head.weight.tolist(), detector.head.bias.tolist()
    p = detector(features)
    for i in range(3):
        for v in range(11):
            z = sum(w * x for w, x in zip(weight[v], features.pooled[i].tolist(), strict=True)) + bias[v]
            assert p[i, v].item() == pytest.approx(1 / (1 + math.exp(-z)), rel=1e-12)
    assert_close(detector.maps(features), p[:, None])


def test_the_grid_is_ignored():
    detector = WholeImage(feature_size=5, vocab_size=11)
    torch.nn.init.normal_(detector.head.weight)
    features = ImageFeatures(torch.randn(3, 5))
    with_grid = replace(features, grid=torch.full((3, 7, 5), torch.nan))
    assert_close(detector.log_probs(with_grid), detector.log_probs(features))


@pytest.mark.parametrize("level", [-200.0, 200.0])
def test_saturated_logits_are_finite_in_float32(level):
    detector = WholeImage(feature_size=1, vocab_size=1)
    torch.nn.init.ones_(detector.head.weight)
    torch.nn.init.zeros_(detector.head.bias)
    log_present, log_absent = detector.log_probs(ImageFeatures(torch.tensor([[level]])))
    assert [log_present.item(), log_absent.item()] == [min(level, 0.0), min(-level, 0.0)]
