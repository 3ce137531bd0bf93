"""Equations (46) to (51) of Graves 2013, one character at a time, in float64."""

from __future__ import annotations

import math

import torch
from torch.testing import assert_close

from captioning.handwriting.window import SoftWindow

B, U, A, K, D = 3, 5, 7, 2, 11


def test_equals_the_papers_equations() -> None:
    torch.manual_seed(0)
    window = SoftWindow(D, num_gaussians=K).double()
    h = torch.randn(B, D, dtype=torch.float64)
    kappa = torch.rand(B, K, dtype=torch.float64)
    characters = torch.randn(B, U, A, dtype=torch.float64)
    w, phi, after = window(h, kappa, characters)
    for row in range(B):
        hat = (window.linear.weight @ h[row] + window.linear.bias).tolist()  # (48)
        alpha, beta = [math.exp(value) for value in hat[:K]], [math.exp(value) for value in hat[K : 2 * K]]
        moved = [kappa[row, k].item() + math.exp(hat[2 * K + k]) for k in range(K)]  # (51)
        assert_close(after[row], torch.tensor(moved, dtype=torch.float64))
        total = torch.zeros(A, dtype=torch.float64)
        for u in range(1, U + 1):
            own = sum(alpha[k] * math.exp(-beta[k] * (moved[k] - u) ** 2) for k in range(K))  # (46)
            assert math.isclose(phi[row, u - 1].item(), own)
            total += own * characters[row, u - 1]  # (47)
        assert_close(w[row], total)


def test_it_only_moves_to_the_right_and_at_first_by_its_pace() -> None:
    torch.manual_seed(0)
    window = SoftWindow(D, num_gaussians=K, pace=0.05)
    kappa = window.start(B, like=torch.zeros(1))
    for _ in range(40):
        _, _, after = window(torch.randn(B, D), kappa, torch.zeros(B, U, A))
        assert (after > kappa).all()
        kappa = after
    assert (kappa > 1).all()
    assert (kappa < 4).all()  # about 40 * 0.05
