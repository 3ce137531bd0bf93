"""The soft window: which characters of the text are being written.

Source: Graves 2013 (arXiv:1308.0850), section 5.1:

    φ(t, u) = Σ_k α^k_t exp(-β^k_t (κ^k_t - u)²)                (46)
    w_t = Σ_u φ(t, u) c_u                                       (47)
    (α̂_t, β̂_t, κ̂_t) = W_{h^1 p} h^1_t + b_p                   (48)
    α_t = exp(α̂_t)        β_t = exp(β̂_t)                       (49) (50)
    κ_t = κ_{t-1} + exp(κ̂_t)        κ_0 = 0                     (51)

The window can only move to the right, and the network learns how far. It is the first attention of a recurrent
network to a text: Bahdanau's came a year later, and it can look anywhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SoftWindow(nn.Module):
    """Computes φ and w.

    Differs: the initial bias of κ̂ is log(`pace`), so that an untrained window moves about as fast as people write.
    With a bias of 0 it would pass a character at every point. Likewise, the bias of α̂ is -log K, so that φ is about 1.

    Args:
        hidden_size: D, the width of h^1.
        num_gaussians: K.
        pace: characters per point.
    """

    def __init__(self, hidden_size: int, *, num_gaussians: int = 10, pace: float = 0.05) -> None:
        super().__init__()
        self.num_gaussians = num_gaussians
        self.linear = nn.Linear(hidden_size, 3 * num_gaussians)
        with torch.no_grad():
            alpha, _, kappa = self.linear.bias.chunk(3)
            alpha -= math.log(num_gaussians)
            kappa += math.log(pace)

    def start(self, batch_size: int, like: Tensor) -> Tensor:
        """Return κ_0 = 0, (B, K)."""
        return like.new_zeros(batch_size, self.num_gaussians)

    def forward(self, h: Tensor, kappa: Tensor, characters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Move the window, and look through it.

        Args:
            h: h^1_t, (B, D).
            kappa: κ_{t-1}, (B, K).
            characters: c_1 to c_{U+1}, (B, U + 1, A), of which those after a row's text are 0.

        Returns:
            w_t (B, A), φ(t, 1) to φ(t, U + 1) (B, U + 1), and κ_t (B, K).
        """
        alpha, beta, step = self.linear(h).exp().chunk(3, dim=1)  # (48), (49), (50)
        kappa = kappa + step  # (51)
        u = torch.arange(1, characters.shape[1] + 1, dtype=kappa.dtype, device=kappa.device)
        distance = (kappa[:, :, None] - u) ** 2
        phi = (alpha[:, :, None] * torch.exp(-beta[:, :, None] * distance)).sum(1)  # (46)
        return (phi[:, None] @ characters)[:, 0], phi, kappa  # (47)
