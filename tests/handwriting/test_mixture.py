"""Equations (18) to (37), (61) and (62) of Graves 2013, one point and one Gaussian at a time, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.handwriting.mixture import Mixture, output_size

M, N = 5, 7


def outputs_and_points() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    outputs = torch.randn(N, output_size(M), generator=random, dtype=torch.float64)
    points = torch.randn(N, 3, generator=random, dtype=torch.float64)
    points[:, 2] = torch.tensor([0, 1, 0, 0, 1, 0, 1])
    return outputs, points


class Literal:
    """One point's distribution, from the plain numbers of ŷ."""

    def __init__(self, y: Sequence[float], bias: float = 0.0) -> None:
        self.e = 1 / (1 + math.exp(y[0]))  # (18)
        weights = [math.exp(value * (1 + bias)) for value in y[1 : 1 + M]]
        self.pi = [value / sum(weights) for value in weights]  # (19), (62)
        self.rho = [math.tanh(value) for value in y[1 + M : 1 + 2 * M]]  # (22)
        pairs = [(y[1 + 2 * M + 2 * j], y[2 + 2 * M + 2 * j]) for j in range(2 * M)]
        self.mu = pairs[:M]  # (20)
        self.sigma = [(math.exp(a - bias), math.exp(b - bias)) for a, b in pairs[M:]]  # (21), (61)

    def z(self, j: int, x: Sequence[float]) -> tuple[float, float, float]:
        z1, z2 = ((x[i] - self.mu[j][i]) / self.sigma[j][i] for i in range(2))
        return z1, z2, z1**2 + z2**2 - 2 * self.rho[j] * z1 * z2  # (25)

    def density(self, j: int, x: Sequence[float]) -> float:
        free, (s1, s2) = 1 - self.rho[j] ** 2, self.sigma[j]
        return math.exp(-self.z(j, x)[2] / (2 * free)) / (2 * math.pi * s1 * s2 * math.sqrt(free))  # (24)

    def log_prob(self, x: Sequence[float]) -> float:
        total = sum(self.pi[j] * self.density(j, x) for j in range(M))
        return math.log(total) + math.log(self.e if x[2] == 1 else 1 - self.e)  # (23), (26)

    def gradient(self, x: Sequence[float]) -> list[float]:
        """The derivatives of the loss with respect to ŷ, in its order."""
        joint = [self.pi[j] * self.density(j, x) for j in range(M)]  # (28)
        gamma = [value / sum(joint) for value in joint]  # (29)
        of_pi = [self.pi[j] - gamma[j] for j in range(M)]  # (30)
        of_mu, of_sigma, of_rho = list[float](), list[float](), list[float]()
        for j in range(M):
            z1, z2, z = self.z(j, x)
            c, rho, (s1, s2) = 1 / (1 - self.rho[j] ** 2), self.rho[j], self.sigma[j]  # (32)
            of_mu += [-gamma[j] * c / s1 * (z1 - rho * z2), -gamma[j] * c / s2 * (z2 - rho * z1)]  # (33), (34)
            of_sigma += [-gamma[j] * (c * z1 * (z1 - rho * z2) - 1), -gamma[j] * (c * z2 * (z2 - rho * z1) - 1)]
            of_rho.append(-gamma[j] * (z1 * z2 + rho * (1 - c * z)))  # (37)
        return [x[2] - self.e, *of_pi, *of_rho, *of_mu, *of_sigma]  # (27) first


def test_losses_and_gradients_equal_the_papers_equations() -> None:
    outputs, points = outputs_and_points()
    outputs.requires_grad_()
    found = Mixture.of(outputs).log_prob(points)
    rows = list(zip(outputs.tolist(), points.tolist(), strict=True))
    assert_close(found, torch.tensor([Literal(y).log_prob(x) for y, x in rows], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(-found.sum(), outputs)
    assert_close(gradient, torch.tensor([Literal(y).gradient(x) for y, x in rows], dtype=torch.float64))


@pytest.mark.parametrize("bias", [0.3, 2.0])
def test_a_bias_narrows_the_gaussians_and_sharpens_their_weights(bias: float) -> None:
    outputs, points = outputs_and_points()
    points[:, :2] = Mixture.of(outputs).mean[:, 0]
    expected = [Literal(y, bias).log_prob(x) for y, x in zip(outputs.tolist(), points.tolist(), strict=True)]
    found = Mixture.of(outputs).biased(bias).log_prob(points)
    assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_the_density_integrates_to_one() -> None:
    outputs, _ = outputs_and_points()
    axis = torch.linspace(-40, 40, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    mixture = Mixture.of(outputs[:1].expand(len(grid), -1))
    total = sum(
        mixture.log_prob(torch.cat([grid, torch.full((len(grid), 1), end)], dim=1)).exp().sum() * 0.1**2
        for end in (0.0, 1.0)
    )
    assert float(total) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("correlation", [-15.0, -9.5, 0.0, 9.5, 15.0])
@pytest.mark.parametrize("log_sd", [-8.0, 6.0])
def test_single_precision_stands_extreme_outputs(correlation: float, log_sd: float) -> None:
    """Where 1 - ρ² is 0 in float32, and a far point has density 0 even in float64."""
    outputs = torch.zeros(2, output_size(2), dtype=torch.float64)
    outputs[:, 0] = torch.tensor([200.0, -200.0])  # log e = -200 and log(1 - e) = -200
    outputs[:, 3:5], outputs[:, -4:] = correlation, log_sd
    points = torch.tensor([[3.0, -1.0, 1.0], [1e3, 5e2, 0.0]], dtype=torch.float64)
    exact = Mixture.of(outputs).log_prob(points)
    single = outputs.float().requires_grad_()
    found = Mixture.of(single).log_prob(points.float())
    assert found.isfinite().all()
    assert_close(found.double(), exact, rtol=1e-4, atol=1e-2)
    (gradient,) = torch.autograd.grad(found.sum(), single)
    assert gradient.isfinite().all()


def test_the_scaled_distance_has_no_cancellation_at_high_correlation() -> None:
    """On the ridge z_1 = z_2 the quotient Z / (1 - ρ²) is 2 z_1² / (1 + ρ), about z_1²."""
    outputs = torch.zeros(1, output_size(1))
    outputs[0, 2] = 12.0
    found = Mixture.of(outputs).log_densities(torch.tensor([[2.0, 2.0]])).item()
    log_free = 2 * (math.log(2) - 12 - math.log1p(math.exp(-24)))
    assert found == pytest.approx(-2.0 - math.log(2 * math.pi) - log_free / 2, rel=1e-5)


def test_samples_have_the_moments_of_the_distribution() -> None:
    outputs = torch.zeros(1, output_size(2), dtype=torch.float64)
    outputs[0, 0] = math.log(3)  # e = 1/4
    outputs[0, 1:3] = torch.tensor([math.log(4), 0.0])  # 4/5 and 1/5
    outputs[0, 3:5] = math.atanh(0.6)
    outputs[0, 5:9] = torch.tensor([1.0, -2.0, 1.0, -2.0])
    outputs[0, 9:] = torch.tensor([0.5, 3.0, 0.5, 3.0]).log()
    drawn = Mixture.of(outputs.expand(40_000, -1)).sample(torch.Generator().manual_seed(0))
    assert_close(drawn.mean(0), torch.tensor([1.0, -2.0, 0.25], dtype=torch.float64), rtol=0, atol=0.05)
    assert_close(drawn[:, :2].std(0), torch.tensor([0.5, 3.0], dtype=torch.float64), rtol=0.02, atol=0)
    assert torch.corrcoef(drawn[:, :2].T)[0, 1].item() == pytest.approx(0.6, abs=0.02)
    outputs[0, 5] = 9.0  # the first of the two Gaussians moves
    moved = Mixture.of(outputs.expand(40_000, -1)).sample(torch.Generator().manual_seed(0))
    assert (moved[:, 0] > 5).double().mean().item() == pytest.approx(0.8, abs=0.01)


def test_a_number_of_gaussians_and_a_bias_that_are_not_possible_are_refused() -> None:
    assert output_size(20) == 121  # the paper's
    with pytest.raises(InputError, match="num_mixtures=0"):
        output_size(0)
    with pytest.raises(InputError, match=r"bias=-0.1"):
        Mixture.of(outputs_and_points()[0]).biased(-0.1)
