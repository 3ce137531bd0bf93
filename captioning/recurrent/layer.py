"""The interface of recurrent layers, and the loop over time of cells without a fused kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

Hidden = tuple[Tensor, ...]
"""A layer's state, (L, B, D) each: (h,) or (h, c)."""


class SequenceLayer(Protocol):
    """Recurrent cells over packed sequences, with the interface of torch.nn.LSTM.

    The state is always a tuple, even for a GRU, where torch has a single tensor.

    Attributes:
        input_size: E.
        hidden_size: D, the width of the outputs.
        num_layers: L.
    """

    input_size: int
    hidden_size: int
    num_layers: int

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Return the state before the first input, (L, B, D) each, with the dtype and device of `like`."""
        ...

    def __call__(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """Run over whole sequences.

        Args:
            inputs: packed (B, T, E).
            state: the state before the first step, (L, B, D) each; None is `initial`, as in torch.nn.LSTM. Its rows,
                and those of the returned state, have the order that the sequences had before they were packed.

        Returns:
            The top layer's output at each step, packed (B, T, D), and the state after each row's own last step.
        """
        ...


class RecurrentLayer(SequenceLayer, Protocol):
    """A causal layer, which can also take a single step, as decoders need."""

    def step(self, inputs: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """Map inputs (B, E) and a state (None is `initial`) to the top layer's output (B, D) and the next state."""
        ...


class RecurrentFactory(Protocol):
    """Builds a layer from the sizes that a decoder gives."""

    def __call__(self, input_size: int, hidden_size: int) -> RecurrentLayer:
        """Build a layer with inputs (B, E) and outputs (B, D)."""
        ...


def unroll(
    step: Callable[[Tensor, Hidden], tuple[Tensor, Hidden]], inputs: PackedSequence, state: Hidden
) -> tuple[PackedSequence, Hidden]:
    """Call `step` for each time step of packed sequences.

    Args:
        step: maps the inputs of the rows that have not ended and their state, (b, ...) each, to their output (b, D)
            and next state.
        inputs: packed. Packing sorts by decreasing length, so the rows that have not ended are always the first.
        state: the state before the first step, (B, ...) each, in the order that the rows had before packing.

    Returns:
        The outputs, packed as the inputs, and the state after each row's own last step, in the order of `state`.
    """
    outputs, ended = [], []
    state = permuted(state, inputs.sorted_indices)
    for x in torch.split(inputs.data, inputs.batch_sizes.tolist()):
        running = x.shape[0]
        if running < state[0].shape[0]:
            ended.append(tuple(s[running:] for s in state))
            state = tuple(s[:running] for s in state)
        output, state = step(x, state)
        outputs.append(output)
    ended.append(state)
    final = tuple(torch.cat(parts) for parts in zip(*reversed(ended), strict=True))
    return inputs._replace(data=torch.cat(outputs)), permuted(final, inputs.unsorted_indices)


def permuted(state: Hidden, order: Tensor | None) -> Hidden:
    """Pick the rows of a state, (B, ...) each, in another order; None keeps theirs."""
    return state if order is None else tuple(s.index_select(0, order) for s in state)


def run_cell(
    cell: Callable[[Tensor, Hidden], tuple[Tensor, Hidden]], projected: PackedSequence, state: Hidden
) -> tuple[PackedSequence, Hidden]:
    """Implement `RecurrentLayer.__call__` for a layer of one cell; the state is (1, B, D) each."""
    outputs, final = unroll(cell, projected, tuple(s[0] for s in state))
    return outputs, tuple(s[None] for s in final)


def step_cell(
    cell: Callable[[Tensor, Hidden], tuple[Tensor, Hidden]], projected: Tensor, state: Hidden
) -> tuple[Tensor, Hidden]:
    """Implement `RecurrentLayer.step` for a layer of one cell; the state is (1, B, D) each."""
    output, after = cell(projected, tuple(s[0] for s in state))
    return output, tuple(s[None] for s in after)


def initialise(layer: nn.Module, hidden_size: int) -> None:
    """Initialise every weight uniformly in ± 1/sqrt(D), as torch's own cells do."""
    for weight in layer.parameters():
        nn.init.uniform_(weight, -(hidden_size**-0.5), hidden_size**-0.5)
