"""A recurrent decoder that looks up what its layer computes of each word alone.

A step of an LSTM computes W x_t + U h_{t-1} + b, and x_t is the vector of one of V words. W x + b of all words is one
product, computed once. A step is then left with U h_{t-1}: half of its weights, and no vector of a word.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder
from captioning.decoders.packed_layers import PackedLayer
from captioning.decoders.recurrence import RecurrentDecoder, RecurrentState, rows_first
from captioning.encoders.features import ImageFeatures

LARGEST = 2**26
"""The largest number of a table's elements: 256 MB in float32. COCO's words and a width of 512 need a third of it."""


class WordTable(Decoder[RecurrentState]):
    """Takes the steps of a packed recurrent decoder with a table of W x + b, (V, G).

    The table does not change with the weights.

    Args:
        decoder: a decoder in evaluation mode for which `can_look_up` holds.
    """

    def __init__(self, decoder: RecurrentDecoder) -> None:
        super().__init__()
        layer = decoder.recurrent
        assert isinstance(layer, PackedLayer)
        self.decoder, self.layer = decoder, layer
        self.vocab_size, self.head = decoder.vocab_size, decoder.head
        with torch.no_grad():
            self.table = layer.project(decoder.embed(torch.arange(decoder.vocab_size)))

    def start(self, features: ImageFeatures) -> RecurrentState:
        """See `Decoder.start`."""
        return self.decoder.start(features)

    def step(self, tokens: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """See `Decoder.step`."""
        h, recurrent = self.layer.advance(self.table.index_select(0, tokens), rows_first(state.recurrent))
        return self.head(h), RecurrentState(rows_first(recurrent))

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`."""
        return self.decoder.hidden(features, inputs, image_index)


def can_look_up(decoder: nn.Module) -> TypeGuard[RecurrentDecoder]:
    """Return whether a decoder's recurrent layer is packed and reads words alone, and its table is not too large."""
    if not isinstance(decoder, RecurrentDecoder) or type(decoder).step is not RecurrentDecoder.step:
        return False
    layer = decoder.recurrent
    return isinstance(layer, PackedLayer) and decoder.vocab_size * 4 * layer.hidden_size <= LARGEST
