"""Equations (4) to (8) of Show and Tell, one row at a time, in float64."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import pack_padded_sequence, unpack_sequence
from torch.testing import assert_close

from captioning.recurrent import ShowAndTellLSTM

E, D = 17, 19


def literal(x, m, c, weights):
    """Equations (4) to (8) for one row and one step; vectors alone."""
    w_ix, w_fx, w_ox, w_cx, w_im, w_fm, w_om, w_cm = weights
    i = torch.sigmoid(w_ix @ x + w_im @ m)  # (4)
    f = torch.sigmoid(w_fx @ x + w_fm @ m)  # (5)
    o = torch.sigmoid(w_ox @ x + w_om @ m)  # (6)
    c = f * c + i * torch.tanh(w_cx @ x + w_cm @ m)  # (7)
    return o * c, c  # (8)


def test_equals_the_papers_equations_row_by_row_with_gradients():
    torch.manual_seed(0)
    layer = ShowAndTellLSTM(E, D).double()
    w_x, w_m = (w.detach().clone().requires_grad_() for w in (layer.w_x, layer.w_m))
    weights = (*w_x.split(D), *w_m.split(D))
    lengths = [5, 3, 3, 1]
    x = torch.randn(4, 5, E).double()
    start = torch.randn(2, 4, D).double()

    packed = pack_padded_sequence(x, torch.tensor(lengths), True)
    outputs, (m_last, c_last) = layer(packed, (start[:1], start[1:]))
    expected = []
    for row, length in enumerate(lengths):
        m, c = start[0, row], start[1, row]
        for t in range(length):
            m, c = literal(x[row, t], m, c, weights)
            expected.append(m)
        assert_close(m_last[0, row], m)
        assert_close(c_last[0, row], c)
    got = torch.cat(unpack_sequence(outputs))
    assert_close(got, torch.stack(expected))

    towards = torch.randn_like(got)
    (got * towards).sum().backward()
    (torch.stack(expected) * towards).sum().backward()
    assert_close(layer.w_x.grad, w_x.grad)
    assert_close(layer.w_m.grad, w_m.grad)


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
