"""The noisy-OR equals a product over regions in float64, and stays finite where that product saturates."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from captioning.encoders.detectors import NoisyOr
from captioning.encoders.features import ImageFeatures


def of_logits(z: torch.Tensor) -> tuple[NoisyOr, ImageFeatures]:
    """A detector of V words whose logits are the features themselves, of (I, R, V)."""
    num_words = z.shape[2]
    detector = NoisyOr(feature_size=num_words, vocab_size=num_words).to(z.dtype)
    with torch.no_grad():
        detector.head.weight.copy_(torch.eye(num_words))
        detector.head.bias.zero_()
    return detector, ImageFeatures(z.mean(1), z)


def test_probabilities_are_one_minus_the_product_over_regions():
    torch.manual_seed(1)
    detector = NoisyOr(feature_size=5, vocab_size=11).double()
    torch.nn.init.normal_(detector.head.weight)
    grid = torch.randn(3, 7, 5, dtype=torch.float64)
    features = ImageFeatures(grid.mean(1), grid)
    weight, bias = detector.head.weight.tolist(), detector.head.bias.tolist()
    p, maps = detector(features), detector.maps(features)
    for i in range(3):
        for v in range(11):
            absent = 1.0
            for j in range(7):
                z = sum(w * x for w, x in zip(weight[v], grid[i, j].tolist(), strict=True)) + bias[v]
                p_ij = 1 / (1 + math.exp(-z))
                assert maps[i, j, v].item() == pytest.approx(p_ij, rel=1e-12)
                absent *= 1 - p_ij
            assert p[i, v].item() == pytest.approx(1 - absent, rel=1e-12)
            assert detector.log_probs(features)[1][i, v].item() == pytest.approx(math.log(absent), rel=1e-12)


def test_the_gradient_reaches_every_region_in_proportion_to_its_probability():
    # d log p / dz_j = sigma(z_j) (1 - p) / p and d log(1 - p) / dz_j = -sigma(z_j)
    z = torch.randn(3, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    detector, features = of_logits(z)
    log_present, log_absent = detector.log_probs(features)
    p = log_present.exp()[:, None]
    (present,) = torch.autograd.grad(log_present.sum(), z, retain_graph=True)
    (absent,) = torch.autograd.grad(log_absent.sum(), z)
    assert_close(present, z.sigmoid() * (1 - p) / p)
    assert_close(absent, -z.sigmoid())


@pytest.mark.parametrize("level", [0.0, -70.0])  # on either side of 1e-20
def test_gradients_equal_finite_differences(level):
    z = (level + torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).requires_grad_()

    def log_probs(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        detector, features = of_logits(z)
        return detector.log_probs(features)

    assert torch.autograd.gradcheck(log_probs, (z,), atol=1e-6)


@pytest.mark.parametrize("level", [-200.0, -100.0, -50.0, -46.0, -20.0, 0.0, 20.0, 100.0])
def test_144_saturated_regions_are_finite_and_exact_in_float32(level):
    z = torch.full((1, 144, 3), level, requires_grad=True)
    detector, features = of_logits(z)
    log_present, log_absent = detector.log_probs(features)
    s = 144 * math.log1p(math.exp(level))
    exact = math.log(144) + level if s < 1e-10 else math.log(-math.expm1(-s))
    assert_close(log_present, torch.full((1, 3), exact), rtol=1e-5, atol=1e-30)
    assert_close(log_absent, torch.full((1, 3), -s), rtol=1e-5, atol=1e-37)
    (gradient,) = torch.autograd.grad(log_present.sum() + log_absent.sum(), z)
    assert gradient.isfinite().all()
    # If no region shows the word, the sum of d log p / dz over regions is 1, so that it can be learned nevertheless.
    if level <= -46:
        assert_close(gradient.sum(1), torch.ones(1, 3))


def test_one_region_is_logistic_regression():
    z = torch.randn(3, 1, 5, generator=torch.Generator().manual_seed(1))
    detector, features = of_logits(z)
    assert_close(detector(features), z[:, 0].sigmoid())
    assert_close(detector.maps(features), z.sigmoid())


def test_the_start_is_the_closed_form_of_equal_regions():
    detector, features = of_logits(torch.zeros(3, 49, 2))
    p = 1 - (1 - 1 / (1 + math.exp(5.51))) ** 49
    detector.start(torch.tensor([p, 0.5]), features)
    assert detector.head.bias[0].item() == pytest.approx(-5.51, abs=1e-5)
