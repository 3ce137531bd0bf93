"""A recurrent layer inside a decoder: its state with the row first, as search has it, and its start."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import State
from captioning.recurrent.layer import Hidden, RecurrentLayer


@dataclass(frozen=True)
class RecurrentState(State):
    """The recurrent layer's state, (B, L, D) each."""

    recurrent: Hidden


def rows_first(state: Hidden) -> Hidden:
    """(L, B, D) as a layer has it to (B, L, D) as search has it, and back."""
    return tuple(s.transpose(0, 1) for s in state)


def step(layer: RecurrentLayer, x: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
    """One step of `layer` from a state with the row first: the output (B, D) and the next state."""
    output, following = layer.step(x, rows_first(state))
    return output, rows_first(following)


def run(layer: RecurrentLayer, x: PackedSequence, state: Hidden) -> Tensor:
    """`layer` over whole sequences from a state with the row first: every output, (sum of lengths, D)."""
    outputs, _ = layer(x, tuple(s.contiguous() for s in rows_first(state)))
    return outputs.data


class Start(nn.Module):
    """The state before the first input, the same for every row: zeros, or learned.

    Args:
        layer: the layer that starts from it.
        learned: whether it is a weight; one that starts at zero.
    """

    def __init__(self, layer: RecurrentLayer, *, learned: bool) -> None:
        super().__init__()
        zeros = rows_first(layer.initial(1, like=torch.empty(0)))
        self.learned = nn.ParameterList(nn.Parameter(s.clone()) for s in zeros) if learned else None
        self.layer = (layer,)  # in a tuple: its weights are registered by the decoder

    def forward(self, batch_size: int, like: Tensor) -> Hidden:
        """(B, L, D) each, with the dtype and device of `like`."""
        if self.learned is None:
            return rows_first(self.layer[0].initial(batch_size, like=like))
        return tuple(s.to(like.dtype).expand(batch_size, -1, -1) for s in self.learned)
