"""Equations (7) to (11) of Graves 2013, one row at a time, in float64."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.testing import assert_close

from captioning.recurrent import PeepholeLSTM


def literal(weights, x, h, c):
    """Equations (7) to (11); the peepholes as diagonal matrices."""
    w_xi, w_xf, w_xc, w_xo = weights["w_x"].split(19)
    w_hi, w_hf, w_hc, w_ho = weights["w_h"].split(19)
    w_ci, w_cf, w_co = (torch.diag(w) for w in weights["w_c"])
    b_i, b_f, b_c, b_o = weights["b"].split(19)
    i = torch.sigmoid(w_xi @ x + w_hi @ h + w_ci @ c + b_i)  # (7)
    f = torch.sigmoid(w_xf @ x + w_hf @ h + w_cf @ c + b_f)  # (8)
    c = f * c + i * torch.tanh(w_xc @ x + w_hc @ h + b_c)  # (9)
    o = torch.sigmoid(w_xo @ x + w_ho @ h + w_co @ c + b_o)  # (10)
    return o * torch.tanh(c), c  # (11)


def test_equals_the_papers_equations_with_gradients(assert_is_the_equations):
    assert_is_the_equations(PeepholeLSTM(17, 19), literal)


def test_is_torch_s_lstm_where_the_peepholes_are_zero():
    torch.manual_seed(0)
    layer, reference = PeepholeLSTM(17, 19).double(), nn.LSTM(17, 19).double()
    with torch.no_grad():
        layer.w_c.zero_()
        reference.weight_ih_l0.copy_(layer.w_x)  # both have the rows i, f, g, o
        reference.weight_hh_l0.copy_(layer.w_h)
        reference.bias_ih_l0.copy_(layer.b)
        reference.bias_hh_l0.zero_()
    inputs = pack_sequence([torch.randn(n, 17).double() for n in (5, 3, 2)])
    state = (torch.randn(1, 3, 19).double(), torch.randn(1, 3, 19).double())
    outputs, last = layer(inputs, state)
    expected, expected_last = reference(inputs, state)
    assert_close(outputs.data, expected.data)
    assert_close(last, expected_last)


def test_the_output_gate_reads_the_new_cell():
    # Input and forget gate shut the old cell out (f = 0) and let 1 in: only W_co c_t can open the output gate.
    layer = PeepholeLSTM(1, 1)
    with torch.no_grad():
        layer.w_x.zero_(), layer.w_h.zero_()
        layer.w_c.copy_(torch.tensor([[0.0], [0.0], [100.0]]))
        layer.b.copy_(torch.tensor([100.0, -100.0, 100.0, -50.0]))  # i, f, c, o
    for old in (0.0, -1.0):
        h, _ = layer.step(torch.zeros(1, 1), (torch.zeros(1, 1, 1), torch.full((1, 1, 1), old)))
        assert_close(h, torch.tensor([[1.0]]).tanh())


def test_parameter_count_of_the_paper():
    # 4 (E H + H H + H) + 3 H: each peephole matrix is a diagonal.
    expected = 4 * (512 * 512 + 512 * 512 + 512) + 3 * 512
    assert sum(p.numel() for p in PeepholeLSTM(512, 512).parameters()) == expected == 2_100_736
