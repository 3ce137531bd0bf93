"""Layers on top of each other that all see the input, and are all seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.errors import InputError
from captioning.recurrent.layer import Hidden, RecurrentLayer, SequenceLayer


class GravesStack(nn.Module):
    """Any layer several times, with skip connections from the input to each and from each to the output.

    Source: Graves 2013 (arXiv:1308.0850), equations 1 to 3, where H is the layer.

        h^1_t = H(W_{i h^1} x_t + W_{h^1 h^1} h^1_{t-1} + b^1_h)                                     (1)
        h^n_t = H(W_{i h^n} x_t + W_{h^{n-1} h^n} h^{n-1}_t + W_{h^n h^n} h^n_{t-1} + b^n_h)         (2)
        ŷ_t = b_y + Σ_n W_{h^n y} h^n_t                                                              (3)

    W_{i h^n} and W_{h^{n-1} h^n} are one matrix over x_t and h^{n-1}_t side by side. So are the W_{h^n y}, which is
    the head of a decoder: what comes out here is h^1_t to h^N_t side by side.

    States stand side by side too, in the last dimension: a decoder meets one layer of width D.

    Args:
        input_size: E.
        hidden_size: D, of the outputs; each layer has an equal share of it.
        layer: builds a layer for the sizes that it is given. A stack has a `step` if its layers have one.
        num_layers: N, how many.

    Raises:
        InputError: there are no layers, or D cannot be shared equally.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, layer: Callable[[int, int], SequenceLayer], num_layers: int
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise InputError(f"a stack of num_layers={num_layers} has nothing in it; give at least 1")
        width, rest = divmod(hidden_size, num_layers)
        if rest:
            raise InputError(
                f"hidden_size={hidden_size} is shared by num_layers={num_layers} layers, whose outputs stand side by "
                f"side: it must be a multiple; {num_layers} layers of {width + 1} have hidden_size="
                f"{num_layers * (width + 1)}"
            )
        self.input_size, self.hidden_size = input_size, hidden_size
        layers: list[Any] = [layer(input_size + below, width) for below in (0, *[width] * (num_layers - 1))]
        self.layers = cast(Sequence[RecurrentLayer], nn.ModuleList(layers))
        self.num_layers: int = layers[0].num_layers

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Each layer's own."""
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
        state = state or self.initial(len(inputs), like=inputs)
        return self._upwards(lambda layer, x, before: layer.step(x, before), inputs, state)

    def _upwards(
        self,
        run: Callable[[RecurrentLayer, Tensor, Hidden], tuple[Tensor, Hidden]],
        x: Tensor,
        state: Hidden,
    ) -> tuple[Tensor, Hidden]:
        # Fused kernels refuse states with gaps.
        parts = ([part.contiguous() for part in s.chunk(len(self.layers), dim=2)] for s in state)
        h, afters = list[Tensor](), list[Hidden]()
        for layer, before in zip(self.layers, zip(*parts, strict=True), strict=True):
            output, after = run(layer, torch.cat([x, *h[-1:]], dim=1), before)  # (1), (2)
            h.append(output)
            afters.append(after)
        return torch.cat(h, dim=1), _side_by_side(afters)  # (3)


def _side_by_side(states: Sequence[Hidden]) -> Hidden:
    return tuple(torch.cat(parts, dim=2) for parts in zip(*states, strict=True))
