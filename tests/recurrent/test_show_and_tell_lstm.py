"""Equations (4) to (8) of Show and Tell, one row at a time, in float64."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from captioning.recurrent import ShowAndTellLSTM


def literal(weights, x, m, c):
    """Equations (4) to (8), with or without biases."""
    w_ix, w_fx, w_ox, w_cx = weights["w_x"].split(19)
    w_im, w_fm, w_om, w_cm = weights["w_m"].split(19)
    b_i, b_f, b_o, b_c = weights.get("b", torch.zeros(4 * 19).double()).split(19)
    i = torch.sigmoid(w_ix @ x + w_im @ m + b_i)  # (4)
    f = torch.sigmoid(w_fx @ x + w_fm @ m + b_f)  # (5)
    o = torch.sigmoid(w_ox @ x + w_om @ m + b_o)  # (6)
    c = f * c + i * torch.tanh(w_cx @ x + w_cm @ m + b_c)  # (7)
    return o * c, c  # (8)


@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_papers_equations_with_gradients(assert_is_the_equations, bias):
    assert_is_the_equations(ShowAndTellLSTM(17, 19, bias=bias), literal)


def test_the_cell_is_unbounded():
    # Every gate open, the candidate 1: c_t = t and m_t = t. With tanh on the cell, as elsewhere, m_t < 1.
    layer = ShowAndTellLSTM(1, 1)
    torch.nn.init.constant_(layer.w_x, 100.0)
    torch.nn.init.zeros_(layer.w_m)
    state = layer.initial(1, like=torch.zeros(()))
    for t in range(1, 6):
        m, state = layer.step(torch.ones(1, 1), state)
        assert_close(m, torch.tensor([[float(t)]]))


def test_parameter_count_of_the_paper():
    assert sum(p.numel() for p in ShowAndTellLSTM(512, 512).parameters()) == 4 * (512 + 512) * 512 == 2_097_152
