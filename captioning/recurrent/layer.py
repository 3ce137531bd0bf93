"""What every recurrent layer offers, and the one loop over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

Hidden = tuple[Tensor, ...]
"""A layer's state, (L, B, D) each: (h,) or (h, c)."""


class SequenceLayer(Protocol):
    """A stack of recurrent cells over packed sequences, as torch.nn.LSTM.

    The state is always a tuple, also where torch's own GRU has a bare tensor.

    Attributes:
        input_size: E.
        hidden_size: D, the outputs' width.
        num_layers: L.
    """

    input_size: int
    hidden_size: int
    num_layers: int

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """The state before the first input, (L, B, D) each, with the dtype and device of `like`."""
        ...

    def __call__(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """Run over whole sequences.

        Args:
            inputs: packed (B, T, E), sorted from the longest.
            state: before the first step, (L, B, D) each; None is `initial`, as with torch.nn.LSTM.

        Returns:
            The top layer's output at each step, packed (B, T, D), and the state after each row's last step.
        """
        ...


class RecurrentLayer(SequenceLayer, Protocol):
    """A causal layer: one that can also take one step, as a decoder must."""

    def step(self, inputs: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """One step: (B, E) and a state (None is `initial`) to the top layer's output (B, D) and the next state."""
        ...


class RecurrentFactory(Protocol):
    """Builds a layer for the sizes that a decoder gives it."""

    def __call__(self, input_size: int, hidden_size: int) -> RecurrentLayer:
        """A layer for inputs (B, E) and outputs (B, D)."""
        ...


def unroll(
    step: Callable[[Tensor, Hidden], tuple[Tensor, Hidden]], inputs: PackedSequence, state: Hidden
) -> tuple[PackedSequence, Hidden]:
    """Call `step` for each time step of packed sequences: the loop for cells that have no fused kernel.

    Args:
        step: maps the inputs of the rows that still run and their state, (b, ...) each, to their output
            (b, D) and next state.
        inputs: packed, sorted from the longest, so that the rows that still run are always the first.
        state: before the first step, (B, ...) each.

    Returns:
        The outputs packed like the inputs, and the state after each row's own last step.
    """
    outputs, ended = [], []
    for x in torch.split(inputs.data, inputs.batch_sizes.tolist()):
        running = x.shape[0]
        if running < state[0].shape[0]:
            ended.append(tuple(s[running:] for s in state))
            state = tuple(s[:running] for s in state)
        output, state = step(x, state)
        outputs.append(output)
    ended.append(state)
    final = tuple(torch.cat(parts) for parts in zip(*reversed(ended), strict=True))
    return inputs._replace(data=torch.cat(outputs)), final


def run_cell(
    cell: Callable[[Tensor, Hidden], tuple[Tensor, Hidden]], projected: PackedSequence, state: Hidden
) -> tuple[PackedSequence, Hidden]:
    """`RecurrentLayer.__call__` of a layer that is one cell: `unroll` on a state of (1, B, D) each."""
    outputs, final = unroll(cell, projected, tuple(s[0] for s in state))
    return outputs, tuple(s[None] for s in final)


def step_cell(
    cell: Callable[[Tensor, Hidden], tuple[Tensor, Hidden]], projected: Tensor, state: Hidden
) -> tuple[Tensor, Hidden]:
    """`RecurrentLayer.step` of a layer that is one cell: its state is (1, B, D) each."""
    output, after = cell(projected, tuple(s[0] for s in state))
    return output, tuple(s[None] for s in after)


def initialise(layer: nn.Module, hidden_size: int) -> None:
    """Start every weight uniform within 1/sqrt(D) of zero, as torch's own cells do."""
    for weight in layer.parameters():
        nn.init.uniform_(weight, -(hidden_size**-0.5), hidden_size**-0.5)
