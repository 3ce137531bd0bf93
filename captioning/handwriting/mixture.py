"""Mixture density outputs: where the pen goes next, and whether it is lifted there.

Source: Graves 2013 (arXiv:1308.0850), section 4.1. The outputs ŷ_t are e, π, μ, σ and ρ before their squashing (17):

    x_t ∈ R x R x {0, 1}                                                                    (15)
    e_t = 1 / (1 + exp(ê_t))                                                                (18)
    π^j_t = exp(π̂^j_t) / Σ_j' exp(π̂^j'_t)                                                  (19)
    μ^j_t = μ̂^j_t        σ^j_t = exp(σ̂^j_t)        ρ^j_t = tanh(ρ̂^j_t)                    (20) (21) (22)
    Pr(x_{t+1} | y_t) = Σ_j π^j_t N(x_{t+1} | μ^j_t, σ^j_t, ρ^j_t) (e_t if (x_{t+1})_3 = 1, else 1 - e_t)   (23)
    N(x | μ, σ, ρ) = exp(-Z / (2 (1 - ρ²))) / (2π σ_1 σ_2 sqrt(1 - ρ²))                     (24)
    Z = z_1² + z_2² - 2 ρ z_1 z_2        z_i = (x_i - μ_i) / σ_i                            (25)
    L(x) = Σ_t -log Σ_j π^j_t N(..) - (log e_t if (x_{t+1})_3 = 1, else log(1 - e_t))       (26)

Everything is computed in log space from ρ̂, because 1 - ρ² is 0 in float32 where |ρ̂| > 9:

    Z / (1 - ρ²) = ((z_1 + z_2)² (1 + exp(-2ρ̂)) + (z_1 - z_2)² (1 + exp(2ρ̂))) / 4          a sum without cancellation
    log(1 - ρ²) = 2 (log 2 - |ρ̂| - log(1 + exp(-2|ρ̂|)))

With the bias b ≥ 0, samples are neater and less diverse (section 5.4):

    σ^j_t = exp(σ̂^j_t - b)        π^j_t = exp(π̂^j_t (1 + b)) / Σ_j' exp(π̂^j'_t (1 + b))    (61) (62)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.errors import InputError


def output_size(num_mixtures: int) -> int:
    """Return the number of outputs: e, and weight, two means, two standard deviations and correlation of each Gaussian.

    Raises:
        InputError: there is no Gaussian.
    """
    if num_mixtures < 1:
        raise InputError(f"num_mixtures={num_mixtures} must be at least 1")
    return 1 + 6 * num_mixtures


@dataclass(frozen=True)
class Mixture:
    """The distribution of n next points; M is the number of Gaussians.

    Attributes:
        end: ê, (n).
        weights: π̂, (n, M).
        mean: μ, (n, M, 2).
        log_sd: σ̂, (n, M, 2).
        correlation: ρ̂, (n, M).
    """

    end: Tensor
    weights: Tensor
    mean: Tensor
    log_sd: Tensor
    correlation: Tensor

    @classmethod
    def of(cls, outputs: Tensor) -> Self:
        """Split ŷ (n, 1 + 6M) into its parts (17)."""
        num = outputs.shape[1] // 6
        end, weights, correlation, mean, log_sd = torch.split(outputs, [1, num, num, 2 * num, 2 * num], dim=1)
        return cls(end[:, 0], weights, mean.reshape(-1, num, 2), log_sd.reshape(-1, num, 2), correlation)

    def log_prob(self, points: Tensor) -> Tensor:
        """Compute log Pr(x_{t+1} | y_t) of points (n, 3), in nats, (n)."""
        offsets = torch.logsumexp(self.weights.log_softmax(1) + self.log_densities(points[:, :2]), dim=1)
        return offsets - F.softplus(torch.where(points[:, 2] > 0.5, self.end, -self.end))  # (23), (26)

    def log_densities(self, offsets: Tensor) -> Tensor:
        """Compute log N of offsets (n, 2) under each Gaussian, (n, M)."""
        z = (offsets[:, None] - self.mean) * torch.exp(-self.log_sd)
        total, difference, rho = z.sum(2), z[..., 0] - z[..., 1], self.correlation
        scaled = (total**2 * (1 + torch.exp(-2 * rho)) + difference**2 * (1 + torch.exp(2 * rho))) / 4  # (25)
        spread = math.log(2) - rho.abs() - torch.log1p(torch.exp(-2 * rho.abs()))  # log(1 - ρ²) / 2
        return -scaled / 2 - math.log(2 * math.pi) - self.log_sd.sum(2) - spread  # (24)

    def biased(self, bias: float) -> Self:
        """Return the distribution with the bias b.

        Raises:
            InputError: b is negative.
        """
        if bias < 0:
            raise InputError(f"bias={bias} must be at least 0")
        return replace(self, log_sd=self.log_sd - bias, weights=self.weights * (1 + bias))  # (61), (62)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw a point from each distribution, (n, 3)."""
        chosen = torch.multinomial(self.weights.softmax(1), 1, generator=generator)
        rows = torch.arange(len(chosen), device=chosen.device)
        mean, sd = self.mean[rows, chosen[:, 0]], self.log_sd[rows, chosen[:, 0]].exp()
        rho = self.correlation[rows, chosen[:, 0]].tanh()
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        second = rho * noise[:, 0] + torch.sqrt(1 - rho**2) * noise[:, 1]
        offsets = mean + sd * torch.stack([noise[:, 0], second], dim=1)
        drawn = torch.rand(self.end.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return torch.cat([offsets, (drawn < torch.sigmoid(-self.end)).to(mean.dtype)[:, None]], dim=1)  # (18)
