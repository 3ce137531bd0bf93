"""Stacked layers with skip connections from the input and to the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.errors import InputError
from captioning.recurrent.layer import Hidden, RecurrentLayer, SequenceLayer


class GravesStack(nn.Module):
    """Several layers with skip connections from the input to each and from each to the output.

    Source: Graves 2013 (arXiv:1308.0850), equations 1 to 3, where H is the layer.

        h^1_t = H(W_{i h^1} x_t + W_{h^1 h^1} h^1_{t-1} + b^1_h)                                     (1)
        h^n_t = H(W_{i h^n} x_t + W_{h^{n-1} h^n} h^{n-1}_t + W_{h^n h^n} h^n_{t-1} + b^n_h)         (2)
        ŷ_t = b_y + Σ_n W_{h^n y} h^n_t                                                              (3)

    W_{i h^n} and W_{h^{n-1} h^n} are one matrix over the concatenation of x_t and h^{n-1}_t. The W_{h^n y} are one
    matrix too, the head of a decoder: the output here is the concatenation of h^1_t to h^N_t.

    States are concatenated in the last dimension too, so a decoder sees one layer of width D.

    Args:
        input_size: E.
        hidden_size: D, the width of the outputs; each layer has an equal share of it.
        layer: builds a layer from its input size and hidden size. The stack has single steps if the layer has.
        num_layers: N, the number of layers.

    Raises:
        InputError: `num_layers` is below 1, or D is not a multiple of it.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, layer: Callable[[int, int], SequenceLayer], num_layers: int
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise InputError(f"num_layers={num_layers} must be at least 1")
        width, rest = divmod(hidden_size, num_layers)
        if rest:
            raise InputError(
                f"hidden_size={hidden_size} must be a multiple of num_layers={num_layers} layers that share it; "
                f"set hidden_size={num_layers * (width + 1)}"
            )
        self.input_size, self.hidden_size = input_size, hidden_size
        layers: list[Any] = [layer(input_size + below, width) for below in (0, *[width] * (num_layers - 1))]
        self.layers = cast(Sequence[RecurrentLayer], nn.ModuleList(layers))
        self.num_layers: int = layers[0].num_layers

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Return the initial states of all layers."""
        return _side_by_side([layer.initial(batch_size, like) for layer in self.layers])

    def forward(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """See `RecurrentLayer`."""
        state = state or self.initial(int(inputs.batch_sizes[0]), like=inputs.data)

        def run(layer: RecurrentLayer, x: Tensor, before: Hidden) -> tuple[Tensor, Hidden]:
            outputs, last = layer(inputs._replace(data=x), before)
            return outputs.data, last

        h, last = self._upwards(run, inputs.data, state)
        return inputs._replace(data=h), last

    def step(self, inputs: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """See `RecurrentLayer`."""
        state = state or self.initial(inputs.shape[0], like=inputs)
        return self._upwards(lambda layer, x, before: layer.step(x, before), inputs, state)

    def _upwards(
        self,
        run: Callable[[RecurrentLayer, Tensor, Hidden], tuple[Tensor, Hidden]],
        x: Tensor,
        state: Hidden,
    ) -> tuple[Tensor, Hidden]:
        # Fused kernels need contiguous states.
        parts = ([part.contiguous() for part in s.chunk(len(self.layers), dim=2)] for s in state)
        h, afters = list[Tensor](), list[Hidden]()
        for layer, before in zip(self.layers, zip(*parts, strict=True), strict=True):
            output, after = run(layer, torch.cat([x, *h[-1:]], dim=1), before)  # (1), (2)
            h.append(output)
            afters.append(after)
        return torch.cat(h, dim=1), _side_by_side(afters)  # (3)


def _side_by_side(states: Sequence[Hidden]) -> Hidden:
    return tuple(torch.cat(parts, dim=2) for parts in zip(*states, strict=True))
