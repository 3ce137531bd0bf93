"""The simple recurrent network is torch's; its step is written out here in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioning.recurrent import Elman


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_equation_with_gradients(assert_is_the_equations, nonlinearity, bias):
    def literal(weights, x, h):
        total = weights["fused.weight_ih_l0"] @ x + weights["fused.weight_hh_l0"] @ h
        if bias:
            total = total + weights["fused.bias_ih_l0"] + weights["fused.bias_hh_l0"]
        return (torch.tanh(total) if nonlinearity == "tanh" else total.clamp(min=0),)

    assert_is_the_equations(Elman(17, 19, nonlinearity=nonlinearity, bias=bias), literal)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_equals_torch_with_its_weights(nonlinearity):
    torch.manual_seed(0)
    reference = nn.RNN(17, 19, 2, nonlinearity)
    layer = Elman(17, 19, num_layers=2, nonlinearity=nonlinearity)
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
        layer = Elman(17, 19, num_layers=num_layers, dropout=0.5).train(training)
        state = layer.initial(3, like=x)
        assert layer.step(x, state)[0].equal(layer.step(x, state)[0]) == same


def test_another_nonlinearity_is_refused():
    with pytest.raises(ValueError, match="sigmoid"):
        Elman(17, 19, nonlinearity="sigmoid")


def test_parameter_count():
    # E H + H H + H, and torch has the bias twice.
    assert sum(p.numel() for p in Elman(512, 512).parameters()) == 512 * 512 + 512 * 512 + 2 * 512 == 525_312
    assert sum(p.numel() for p in Elman(512, 512, bias=False).parameters()) == 524_288
