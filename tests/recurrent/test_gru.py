"""The GRU is torch's; its step is written out here in float64."""

from __future__ import annotations

import torch
from torch import nn
from torch.testing import assert_close

from captioning.recurrent import GRU


def test_step_is_the_equations():
    torch.manual_seed(0)
    layer = GRU(17, 19).double()
    x, h = torch.randn(5, 17).double(), torch.randn(5, 19).double()
    w, u, b, b2 = layer.fused.all_weights[0]
    (w_r, w_z, w_n), (u_r, u_z, u_n) = w.split(19), u.split(19)  # torch's order
    (b_r, b_z, b_n), (b2_r, b2_z, b2_n) = b.split(19), b2.split(19)
    r = (x @ w_r.T + b_r + h @ u_r.T + b2_r).sigmoid()
    z = (x @ w_z.T + b_z + h @ u_z.T + b2_z).sigmoid()
    n = (x @ w_n.T + b_n + r * (h @ u_n.T + b2_n)).tanh()
    output, state = layer.step(x, (h[None],))
    assert_close(output, (1 - z) * n + z * h)
    assert_close(state, (output[None],))


def test_equals_torch_with_its_weights():
    torch.manual_seed(0)
    reference, layer = nn.GRU(17, 19, 2), GRU(17, 19, num_layers=2)
    layer.fused.load_state_dict(reference.state_dict())
    x, h = torch.randn(5, 1, 17), torch.randn(2, 1, 19)
    expected, last = reference(x, h)
    state = (h,)
    for t in range(5):
        output, state = layer.step(x[t], state)
        assert_close(output, expected[t], rtol=0, atol=1e-6)
    assert_close(state, (last,), rtol=0, atol=1e-6)


def test_dropout_acts_between_layers_in_training_alone():
    torch.manual_seed(0)
    x = torch.randn(3, 17)
    for num_layers, training, same in ((2, True, False), (2, False, True), (1, True, True)):
        layer = GRU(17, 19, num_layers=num_layers, dropout=0.5).train(training)
        state = layer.initial(3, like=x)
        assert layer.step(x, state)[0].equal(layer.step(x, state)[0]) == same
