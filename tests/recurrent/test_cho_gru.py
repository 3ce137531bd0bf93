"""Equations (5) to (8) of Cho et al. 2014, one row at a time, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioning.recurrent import ChoGRU


def literal(weights, x, h):
    """Equations (5) to (8)."""
    w_r, w_z, w = weights["w"].split(19)
    u_r, u_z = weights["u_rz"].split(19)
    b_r, b_z, b = weights["b"].split(19) if "b" in weights else (0, 0, 0)
    r = torch.sigmoid(w_r @ x + u_r @ h + b_r)  # (5)
    z = torch.sigmoid(w_z @ x + u_z @ h + b_z)  # (6)
    candidate = torch.tanh(w @ x + weights["u"] @ (r * h) + b)  # (8)
    return (z * h + (1 - z) * candidate,)  # (7)


@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_papers_equations_with_gradients(assert_is_the_equations, bias):
    assert_is_the_equations(ChoGRU(17, 19, bias=bias), literal)


def test_the_reset_gate_acts_before_the_recurrent_matrix():
    # U mixes the channels and r does not: with U diagonal the order is no difference, and torch's GRU is the same.
    torch.manual_seed(0)
    layer, torch_s = ChoGRU(17, 19), nn.GRUCell(17, 19, bias=False)
    x, h = torch.randn(3, 17), torch.randn(3, 19)
    for u, same in ((torch.diag(torch.randn(19)), True), (torch.randn(19, 19), False)):
        with torch.no_grad():
            layer.u.copy_(u)
            torch_s.weight_ih.copy_(layer.w)
            torch_s.weight_hh.copy_(torch.cat([layer.u_rz, u]))
        output, (after,) = layer.step(x, (h[None],))
        assert output.allclose(torch_s(x, h), atol=1e-5) == same
        assert_close(after[0], output)


@pytest.mark.parametrize(("bias", "expected"), [(False, 1_572_864), (True, 1_574_400)])
def test_parameter_count_of_the_paper(bias, expected):
    # 3 (E H + H H), and TensorFlow's one set of biases is 3 H more.
    layer = ChoGRU(512, 512, bias=bias)
    assert sum(p.numel() for p in layer.parameters()) == 3 * (512 * 512 + 512 * 512 + bias * 512) == expected
