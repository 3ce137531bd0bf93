"""The LSTM is torch's; its step is written out here in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioning.recurrent import LSTM


def test_step_is_the_equations():
    torch.manual_seed(0)
    layer = LSTM(17, 19).double()
    x, h, c = torch.randn(5, 17).double(), torch.randn(5, 19).double(), torch.randn(5, 19).double()
    w, u, b, b2 = layer.fused.all_weights[0]
    i, f, g, o = (x @ w.T + b + h @ u.T + b2).split(19, dim=1)  # torch's order
    cell = f.sigmoid() * c + i.sigmoid() * g.tanh()
    hidden = o.sigmoid() * cell.tanh()
    output, state = layer.step(x, (h[None], c[None]))
    assert_close(output, hidden)
    assert_close(state, (hidden[None], cell[None]))


def test_equals_torch_with_its_weights():
    torch.manual_seed(0)
    reference, layer = nn.LSTM(17, 19, 2), LSTM(17, 19, num_layers=2)
    layer.fused.load_state_dict(reference.state_dict())
    x, h, c = torch.randn(5, 1, 17), torch.randn(2, 1, 19), torch.randn(2, 1, 19)
    expected, (h_last, c_last) = reference(x, (h, c))
    state = (h, c)
    for t in range(5):
        output, state = layer.step(x[t], state)
        assert_close(output, expected[t], rtol=0, atol=1e-6)
    assert_close(state, (h_last, c_last), rtol=0, atol=1e-6)


def test_forget_bias_is_added_to_the_forget_gate_of_each_layer_alone():
    torch.manual_seed(0)
    plain = LSTM(17, 19, num_layers=2)
    torch.manual_seed(0)
    biased = LSTM(17, 19, num_layers=2, forget_bias=1.0)
    for (name, before), after in zip(plain.named_parameters(), biased.parameters(), strict=True):
        added = torch.zeros_like(before)
        if "bias_ih" in name:
            added[19:38] = 1.0  # i, f, g, o
        assert_close(after - before, added)


def test_dropout_acts_between_layers_in_training_alone():
    torch.manual_seed(0)
    x = torch.randn(3, 17)
    for num_layers, training, same in ((2, True, False), (2, False, True), (1, True, True)):
        layer = LSTM(17, 19, num_layers=num_layers, dropout=0.5).train(training)
        state = layer.initial(3, like=x)
        assert layer.step(x, state)[0].equal(layer.step(x, state)[0]) == same


@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_step_that_trains_is_the_fused_step_with_its_gradients(num_layers: int) -> None:
    torch.manual_seed(0)
    layer, x = LSTM(3, 4, num_layers=num_layers).double(), torch.randn(5, 3).double().requires_grad_()
    state = tuple(torch.randn(2, num_layers, 5, 4).double())
    h, (hs, cs) = layer.step(x, state)
    outputs, (wanted_h, wanted_c) = layer.fused(x[None], state)
    assert_close((h, hs, cs), (outputs[0], wanted_h, wanted_c))
    with torch.no_grad():
        assert_close(layer.step(x, state)[0], h)
    sources = [x, *layer.parameters()]
    found = torch.autograd.grad((h.sin().sum() + cs.cos().sum()), sources)
    wanted = torch.autograd.grad((outputs.sin().sum() + wanted_c.cos().sum()), sources)
    assert_close(found, wanted)
