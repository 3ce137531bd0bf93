"""The maximum over regions is that of the best region, which alone learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from captioning.encoders.detectors import MaxOverRegions
from captioning.encoders.features import ImageFeatures


def test_the_probability_is_that_of_the_best_region():
    torch.manual_seed(1)
    detector = MaxOverRegions(feature_size=5, vocab_size=11).double()
    torch.nn.init.normal_(detector.head.weight)
    grid = torch.randn(3, 7, 5, dtype=torch.float64)
    features = ImageFeatures(grid.mean(1), grid)
    weight, bias = detector.head.weight.tolist(), detector.head.bias.tolist()
    p, maps = detector(features), detector.maps(features)
    for i in range(3):
        for v in range(11):
            regions = []
            for j in range(7):
                z = sum(w * x for w, x in zip(weight[v], grid[i, j].tolist(), strict=True)) + bias[v]
                regions.append(1 / (1 + math.exp(-z)))
            assert maps[i, :, v].tolist() == pytest.approx(regions, rel=1e-12)
            assert p[i, v].item() == pytest.approx(max(regions), rel=1e-12)


def test_the_gradient_reaches_the_best_region_alone_and_equal_ones_share_it():
    grid = torch.tensor([[[1.0], [3.0], [2.0]], [[4.0], [4.0], [0.0]]], dtype=torch.float64, requires_grad=True)
    detector = MaxOverRegions(feature_size=1, vocab_size=1).double()
    torch.nn.init.ones_(detector.head.weight)
    torch.nn.init.zeros_(detector.head.bias)
    detector.log_probs(ImageFeatures(grid.mean(1), grid))[1].sum().backward()
    a, b = (-1 / (1 + math.exp(-z)) for z in (3.0, 4.0))
    assert_close(grid.grad[..., 0], torch.tensor([[0.0, a, 0.0], [b / 2, b / 2, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("level", [-200.0, 200.0])
def test_saturated_regions_are_finite_in_float32(level):
    grid = torch.full((1, 144, 1), level, requires_grad=True)
    detector = MaxOverRegions(feature_size=1, vocab_size=1)
    torch.nn.init.ones_(detector.head.weight)
    torch.nn.init.zeros_(detector.head.bias)
    log_present, log_absent = detector.log_probs(ImageFeatures(grid.mean(1), grid))
    assert [log_present.item(), log_absent.item()] == [min(level, 0.0), min(-level, 0.0)]
    (log_present + log_absent).sum().backward()
    assert grid.grad.isfinite().all()
