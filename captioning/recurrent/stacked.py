"""Stacked layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.errors import InputError
from captioning.recurrent.layer import Hidden, RecurrentLayer, SequenceLayer


class Stacked(nn.Module):
    """Several layers, each of which reads the outputs of the one below, as in torch.nn.LSTM.

        h^l_t = layer_l(h^{l-1}_t),    h^0_t = x_t

    The states of all layers are concatenated in the first dimension, the lowest layer first.

    Args:
        input_size: E.
        hidden_size: D, the width of each layer's outputs.
        layer: builds a layer from its input size and hidden size. The stack has single steps if the layer has.
        num_layers: the number of layers.
        dropout: between layers.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        layer: Callable[[int, int], SequenceLayer],
        num_layers: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.dropout = dropout
        if num_layers < 1:
            raise InputError(f"num_layers={num_layers} must be at least 1")
        layers: list[Any] = [layer(size, hidden_size) for size in (input_size, *[hidden_size] * (num_layers - 1))]
        self.layers = cast(Sequence[RecurrentLayer], nn.ModuleList(layers))
        self.num_layers = sum(layer.num_layers for layer in layers)

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Return the initial states of all layers."""
        return _below(layer.initial(batch_size, like) for layer in self.layers)

    def forward(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """See `RecurrentLayer`."""
        state = state or self.initial(int(inputs.batch_sizes[0]), like=inputs.data)
        x, finals = inputs, list[Hidden]()
        for layer, before in self._each(state):
            if finals:
                x = x._replace(data=F.dropout(x.data, self.dropout, self.training))
            x, final = layer(x, before)
            finals.append(final)
        return x, _below(finals)

    def step(self, inputs: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """See `RecurrentLayer`."""
        state = state or self.initial(inputs.shape[0], like=inputs)
        x, afters = inputs, list[Hidden]()
        for layer, before in self._each(state):
            if afters:
                x = F.dropout(x, self.dropout, self.training)
            x, after = layer.step(x, before)
            afters.append(after)
        return x, _below(afters)

    def _each(self, state: Hidden) -> Iterator[tuple[RecurrentLayer, Hidden]]:
        """Pair each layer with its part of the state."""
        parts = (s.chunk(len(self.layers)) for s in state)
        return zip(self.layers, zip(*parts, strict=True), strict=True)


def _below(states: Iterable[Hidden]) -> Hidden:
    return tuple(torch.cat(parts) for parts in zip(*states, strict=True))
