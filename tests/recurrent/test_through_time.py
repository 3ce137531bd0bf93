"""One LSTM layer through time equals torch's own LSTM, with all gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.testing import assert_close

from captioning.recurrent import LSTM
from captioning.recurrent.through_time import lstm_through_time

LENGTHS = (2, 4, 1, 4)


def sequences(dtype: torch.dtype = torch.float64) -> PackedSequence:
    """Four sequences that are not sorted by length, E = 5."""
    random = torch.Generator().manual_seed(1)
    packed = pack_sequence([torch.randn(n, 5, generator=random).to(dtype) for n in LENGTHS], enforce_sorted=False)
    packed.data.requires_grad_()
    return packed


def results(run: nn.Module, layer: LSTM, inputs: PackedSequence, state: tuple[Tensor, Tensor] | None) -> list[Tensor]:
    """Outputs, final state, and the gradients of inputs, first state and weights."""
    outputs, (h, c) = run(inputs, state)
    towards = torch.linspace(-1, 1, outputs.data.numel(), dtype=h.dtype).view_as(outputs.data)
    loss = (outputs.data * towards).sum() + (2 * h).sum() + (c**2).sum()
    gradients = torch.autograd.grad(loss, [inputs.data, *(state or ()), *layer.parameters()])
    return [outputs.data, h, c, *gradients]


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("given", [True, False], ids=["from a state", "from zeros"])
def test_it_is_torch_s_lstm_with_all_gradients(num_layers: int, given: bool) -> None:
    torch.manual_seed(0)
    layer, inputs = LSTM(5, 3, num_layers=num_layers).double(), sequences()
    shape = (num_layers, len(LENGTHS), 3)
    state = tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2)) if given else None
    assert_close(results(layer, layer, inputs, state), results(layer.fused, layer, inputs, state))


def test_its_gradients_are_those_of_differences() -> None:
    torch.manual_seed(0)
    shapes = ((7, 2), (3, 4), (3, 4), (16, 2), (16, 4), (16,))
    x, h, c, w, u, b = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    assert torch.autograd.gradcheck(lambda *args: lstm_through_time(args[0], [3, 3, 1], *args[1:]), (x, h, c, w, u, b))


def test_arguments_are_not_changed() -> None:
    x, h, c, w, u, b = (torch.ones(shape) for shape in ((3, 2), (2, 4), (2, 4), (16, 2), (16, 4), (16,)))
    lstm_through_time(x, [2, 1], h, c, w, u, b)
    assert all((value == 1).all() for value in (x, h, c, w, u, b))


def test_autocast_rounds_products_alone() -> None:
    torch.manual_seed(0)
    layer, inputs = LSTM(5, 3), sequences(torch.float32)
    exact = results(layer, layer, inputs, None)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = results(layer, layer, inputs, None)
    assert all(value.dtype == torch.float32 for value in rounded)
    assert_close(rounded, exact, rtol=0.05, atol=0.05)
    assert not torch.equal(rounded[0], exact[0])


def test_second_derivatives_are_refused_rather_than_wrong() -> None:
    layer, inputs = LSTM(5, 3).double(), sequences()
    outputs, _ = layer(inputs)
    (gradient,) = torch.autograd.grad(outputs.data.sum(), inputs.data, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.sum().backward()
