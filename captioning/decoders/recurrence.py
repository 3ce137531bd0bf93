"""Decoders around a recurrent layer: their shared steps, their state and its initial value.

A recurrent layer's state has the shape (L, B, D): layers, rows of the batch, width. A search picks rows, so a decoder's
state has the row first: (B, L, D).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.recurrent.layer import Hidden, RecurrentLayer


@dataclass(frozen=True)
class RecurrentState(State):
    """The recurrent layer's state: a tuple of tensors, each (B, L, D)."""

    recurrent: Hidden


class RecurrentDecoder(Decoder[RecurrentState]):
    """A recurrent layer over words alone: the image acts through the state that `start` returns.

    Attributes:
        embedding: the words' vectors, (V, E).
        recurrent: the recurrent layer.
        dropout: applied to the layer's outputs.
    """

    embedding: nn.Embedding
    recurrent: RecurrentLayer
    dropout: nn.Dropout

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor:
        """Compute the layer's inputs for tokens: (B,) int64 to (B, E)."""

    def step(self, tokens: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """See `Decoder.step`."""
        h, recurrent = step(self.recurrent, self.embed(tokens), state.recurrent)
        return self.head(self.dropout(h)), RecurrentState(recurrent)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`. Return the layer's outputs after dropout, (sum of lengths, D)."""
        state = self.start(features).rows(image_index)
        x = inputs._replace(data=self.embed(inputs.data))
        dropped: Tensor = self.dropout(run(self.recurrent, x, state.recurrent))
        return dropped


def rows_first(state: Hidden) -> Hidden:
    """Turn (L, B, D) into (B, L, D), or back."""
    return tuple(s.transpose(0, 1) for s in state)


def step(layer: RecurrentLayer, x: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
    """Take one step of `layer` from a state with the row first: return the output (B, D) and the next state."""
    output, following = layer.step(x, rows_first(state))
    return output, rows_first(following)


def run(layer: RecurrentLayer, x: PackedSequence, state: Hidden) -> Tensor:
    """Run `layer` over whole sequences from a state with the row first: every output, (sum of lengths, D)."""
    outputs, _ = layer(x, tuple(s.contiguous() for s in rows_first(state)))
    return outputs.data


class Start(nn.Module):
    """The state before the first input, the same for every row: zeros, or learned weights.

    Args:
        layer: the layer that starts from it.
        learned: whether the state is learned. Its weights are initialised to zero.
    """

    def __init__(self, layer: RecurrentLayer, *, learned: bool) -> None:
        super().__init__()
        zeros = rows_first(layer.initial(1, like=torch.empty(0)))
        self.learned = nn.ParameterList(nn.Parameter(s.clone()) for s in zeros) if learned else None
        self.layer = (layer,)  # in a tuple, so that its weights are registered by the decoder alone

    def forward(self, batch_size: int, like: Tensor) -> Hidden:
        """Return the state's tensors, (B, L, D) each, with the dtype of `like`.

        Zeros are on the device of `like`, and a learned state is on the device of its weights.
        """
        if self.learned is None:
            return rows_first(self.layer[0].initial(batch_size, like=like))
        return tuple(s.to(like.dtype).expand(batch_size, -1, -1) for s in self.learned)
