"""A stack of layers is the layers one after the other, and torch's own stack."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.recurrent import GRU, LSTM, MaxoutLSTM, PeepholeLSTM, Stacked


@pytest.fixture
def inputs():
    random = torch.Generator().manual_seed(1)
    return pack_sequence([torch.randn(n, 17, generator=random) for n in (7, 5, 3, 2)])


@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_equals_torch_s_own_stack_with_its_weights(cell, inputs):
    torch.manual_seed(0)
    reference = cell(17, 19, num_layers=3)
    stacked = Stacked(17, 19, layer=cell, num_layers=3)
    weights = reference.fused.state_dict()
    for level, layer in enumerate(stacked.layers):
        layer.fused.load_state_dict({f"{k[:-1]}0": v for k, v in weights.items() if k.endswith(f"_l{level}")})
    state = tuple(torch.randn_like(s) for s in reference.initial(4, like=inputs.data))
    outputs, last = stacked(inputs, state)
    expected, expected_last = reference(inputs, state)
    assert_close(outputs, expected, rtol=0, atol=1e-6)
    assert_close(last, expected_last, rtol=0, atol=1e-6)


def test_each_layer_reads_the_one_below_and_has_its_own_state(inputs):
    torch.manual_seed(0)
    stacked = Stacked(17, 19, layer=PeepholeLSTM, num_layers=2)
    lower, upper = stacked.layers
    assert (lower.input_size, upper.input_size) == (17, 19)
    h, c = (torch.randn(2, 4, 19) for _ in range(2))
    outputs, last = stacked(inputs, (h, c))
    between, lower_last = lower(inputs, (h[:1], c[:1]))
    expected, upper_last = upper(between, (h[1:], c[1:]))
    assert_close(outputs, expected, rtol=0, atol=0)
    assert_close(last, tuple(torch.cat(s) for s in zip(lower_last, upper_last, strict=True)), rtol=0, atol=0)


def test_layers_count_those_inside_them():
    stacked = Stacked(17, 19, layer=partial(LSTM, num_layers=2), num_layers=3)
    assert stacked.num_layers == 6
    assert stacked.initial(5, like=torch.zeros(()))[0].shape == (6, 5, 19)


def test_parameters_are_those_of_each_layer():
    count = sum(p.numel() for p in Stacked(17, 19, layer=MaxoutLSTM, num_layers=3).parameters())
    assert count == 5 * ((17 + 19) * 19 + 19) + 2 * 5 * ((19 + 19) * 19 + 19) == 10_925


def test_dropout_acts_between_layers_in_training_alone(inputs):
    torch.manual_seed(0)
    for num_layers, training, same in ((2, True, False), (2, False, True), (1, True, True)):
        layer = Stacked(17, 19, layer=MaxoutLSTM, num_layers=num_layers, dropout=0.5).train(training)
        state = layer.initial(4, like=inputs.data)
        assert layer(inputs, state)[0].data.equal(layer(inputs, state)[0].data) == same
        x = inputs.data[:4]
        assert layer.step(x, state)[0].equal(layer.step(x, state)[0]) == same


def test_dropout_of_all_leaves_the_upper_layer_nothing_but_its_bias(inputs):
    # Dropout acts on the lower layer's outputs, not on its inputs and not on the stack's outputs.
    torch.manual_seed(0)
    layer = Stacked(17, 19, layer=MaxoutLSTM, num_layers=2, dropout=1.0)
    state = layer.initial(4, like=inputs.data)
    nothing = inputs._replace(data=torch.zeros(len(inputs.data), 19))
    expected, _ = layer.layers[1](nothing, tuple(s[1:] for s in state))
    assert_close(layer(inputs, state)[0].data, expected.data)
    assert expected.data.any()


def test_a_stack_without_layers_is_refused():
    with pytest.raises(InputError, match="num_layers=0 must be at least 1"):
        Stacked(17, 19, layer=LSTM, num_layers=0)
