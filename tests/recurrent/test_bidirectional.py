"""Bidirectional layers equal torch's, and two layers over rows and reversed rows."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.recurrent import GRU, LSTM, Bidirectional, PeepholeLSTM, Stacked
from captioning.recurrent.bidirectional import mirrored

LENGTHS = (7, 5, 5, 3, 2, 1)


@pytest.fixture
def rows() -> list[torch.Tensor]:
    """Rows of E = 17 channels."""
    random = torch.Generator().manual_seed(1)
    return [torch.randn(n, 17, generator=random, dtype=torch.float64) for n in LENGTHS]


@pytest.mark.parametrize("longest_first", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize(("cell", "torch_s", "states"), [(LSTM, nn.LSTM, 2), (GRU, nn.GRU, 1)])
def test_a_stack_equals_torch_s_with_its_weights(cell, torch_s, states, num_layers, longest_first, rows):
    torch.manual_seed(0)
    reference = torch_s(17, 19, num_layers, bidirectional=True).double()
    layer = Stacked(17, 38, layer=partial(Bidirectional, layer=cell), num_layers=num_layers).double()
    weights, copied = reference.state_dict(), {}
    for name in weights:
        kind, _, level = name.removesuffix("_reverse").rpartition("_l")
        direction = "backwards" if name.endswith("_reverse") else "forwards"
        copied[f"layers.{level}.{direction}.fused.{kind}_l0"] = weights[name]
    layer.load_state_dict(copied)

    if not longest_first:
        rows = [rows[i] for i in (3, 0, 5, 1, 4, 2)]
    inputs = pack_sequence(rows, enforce_sorted=longest_first)
    state = tuple(torch.randn(2 * num_layers, len(LENGTHS), 19).double() for _ in range(states))
    outputs, last = layer(inputs, state)
    expected, expected_last = reference(inputs, state if states > 1 else state[0])
    assert_close(outputs, expected)
    assert_close(last, expected_last if states > 1 else (expected_last,))

    towards = torch.randn_like(expected.data)
    for results in (outputs, expected):
        (results.data * towards).sum().backward()
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    for name, weight in zip(copied, reference.parameters(), strict=True):
        assert_close(gradients[name], weight.grad)


@pytest.mark.parametrize("combine", ["concatenate", "sum"])
def test_the_second_layer_reads_each_row_from_its_own_end(combine, rows):
    torch.manual_seed(0)
    layer = Bidirectional(17, 38, layer=PeepholeLSTM, combine=combine).double()
    state = tuple(torch.randn_like(s) for s in layer.initial(len(rows), like=rows[0]))
    outputs, last = layer(pack_sequence(rows), state)
    for row, (x, got) in enumerate(zip(rows, unpack_sequence(outputs), strict=True)):
        own = tuple(s[:, row : row + 1] for s in state)
        ahead, end = layer.forwards(pack_sequence([x]), tuple(s[:1] for s in own))
        back, beginning = layer.backwards(pack_sequence([x.flip(0)]), tuple(s[1:] for s in own))
        both = ahead.data, back.data.flip(0)
        assert_close(got, torch.cat(both, dim=1) if combine == "concatenate" else both[0] + both[1])
        for s, forward_s, backward_s in zip(last, end, beginning, strict=True):
            assert_close(s[:, row : row + 1], torch.cat([forward_s, backward_s]))


def test_outputs_have_the_given_width():
    assert Bidirectional(17, 38, layer=LSTM).forwards.hidden_size == 19
    assert Bidirectional(17, 19, layer=LSTM, combine="sum").backwards.hidden_size == 19
    with pytest.raises(
        InputError, match="hidden_size=19 must be even to be shared by two directions; or set combine=sum"
    ):
        Bidirectional(17, 19, layer=LSTM)


def test_an_unknown_combination_is_refused():
    with pytest.raises(InputError, match="combine=mean must be concatenate or sum"):
        Bidirectional(17, 38, layer=LSTM, combine="mean")


def test_both_directions_have_their_own_weights():
    count = sum(p.numel() for p in Bidirectional(17, 38, layer=PeepholeLSTM).parameters())
    assert count == 2 * (4 * (17 * 19 + 19 * 19 + 19) + 3 * 19) == 5_738


def test_there_is_no_step():
    assert not hasattr(Bidirectional(17, 38, layer=LSTM), "step")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7))
def test_mirrored_reverses_each_row_within_its_own_length(lengths: list[int]):
    lengths.sort(reverse=True)
    packed = pack_sequence([100 * row + torch.arange(n) for row, n in enumerate(lengths)])
    turned = packed._replace(data=packed.data[mirrored(packed.batch_sizes)])
    for row, (n, got) in enumerate(zip(lengths, unpack_sequence(turned), strict=True)):
        assert got.equal(100 * row + torch.arange(n).flip(0))
