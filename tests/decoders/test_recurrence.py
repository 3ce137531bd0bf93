"""A recurrent layer's state with the row first, and its initial value."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, unpack_sequence
from torch.testing import assert_close

from captioning.decoders.recurrence import Start, rows_first, run, step
from captioning.recurrent import GRU, LSTM


def test_rows_first_and_back():
    state = (torch.arange(6.0).view(2, 3, 1), torch.zeros(2, 3, 5))
    turned = rows_first(state)
    assert [s.shape for s in turned] == [(3, 2, 1), (3, 2, 5)]
    assert all(a.equal(b) for a, b in zip(rows_first(turned), state, strict=True))


def test_running_equals_stepping_for_every_cell(recurrent):
    x = torch.randn(3, 5, 17)
    packed = pack_padded_sequence(x, torch.tensor([5, 4, 2]), True)
    start = rows_first(recurrent.initial(3, like=x))
    start = tuple(torch.randn(s.shape) for s in start)
    whole = unpack_sequence(packed._replace(data=run(recurrent, packed, start)))
    for row, expected in enumerate(whole):
        state = tuple(s[row : row + 1] for s in start)
        for t in range(len(expected)):
            output, state = step(recurrent, x[row : row + 1, t], state)
            assert_close(output[0], expected[t], rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", [LSTM, partial(GRU, num_layers=2)])
def test_a_learned_start_is_a_weight_and_the_same_for_every_row(layer):
    built = layer(17, 19)
    zeros, learned = (Start(built, learned=learned) for learned in (False, True))
    like = torch.empty(0, dtype=torch.float64)
    for a, b in zip(zeros(3, like), learned(3, like), strict=True):
        assert a.shape == b.shape == (3, built.num_layers, 19)
        assert a.dtype == b.dtype == torch.float64
        assert not a.any()
    assert list(zeros.parameters()) == []
    torch.nn.init.uniform_(learned.learned[0], 1, 2)
    first, *_ = learned(3, like)
    assert first.min() >= 1
    assert first[0].equal(first[2])
    assert zeros(0, like)[0].shape == (0, built.num_layers, 19)
