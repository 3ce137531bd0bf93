"""One layer read forwards, another read backwards."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.errors import InputError
from captioning.recurrent.layer import Hidden, RecurrentFactory


class Bidirectional(nn.Module):
    """Two layers of any kind over the same inputs, one of which starts at each row's own end.

    Source: Schuster & Paliwal 1997, "Bidirectional recurrent neural networks".

        →h_t = forwards(x_t, →h_{t-1})      ←h_t = backwards(x_t, ←h_{t+1})
        h_t = [→h_t; ←h_t]   or   →h_t + ←h_t

    Each output depends on the whole row, so there is no `step`: this is no layer for a decoder. A
    `Stacked` of these is torch.nn.LSTM(num_layers=.., bidirectional=True). The states of `forwards`
    stand before those of `backwards` in the first dimension.

    Args:
        input_size: E.
        hidden_size: D, of the outputs; where they are concatenated, each direction has half of it.
        layer: builds the layer of one direction.
        combine: "concatenate" as torch and Bahdanau et al. (arXiv:1409.0473) do, or "sum" as Karpathy and
            Fei-Fei (arXiv:1412.2306).

    Raises:
        InputError: D is odd and to be shared by two, or `combine` is neither.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        layer: RecurrentFactory,
        combine: Literal["concatenate", "sum"] = "concatenate",
    ) -> None:
        super().__init__()
        if combine not in ("concatenate", "sum"):
            raise InputError(f"combine={combine} is no way to join two directions; there are concatenate and sum")
        if combine == "concatenate" and hidden_size % 2:
            raise InputError(f"hidden_size={hidden_size} is shared by two directions: it must be even, or combine=sum")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.combine = combine
        width = hidden_size // 2 if combine == "concatenate" else hidden_size
        self.forwards, self.backwards = layer(input_size, width), layer(input_size, width)
        self.num_layers = self.forwards.num_layers

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Those of both directions, (2L, B, ..) each."""
        both = self.forwards.initial(batch_size, like), self.backwards.initial(batch_size, like)
        return tuple(torch.cat(parts) for parts in zip(*both, strict=True))

    def forward(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """See `SequenceLayer`."""
        state = state or self.initial(int(inputs.batch_sizes[0]), like=inputs.data)
        turned = mirrored(inputs.batch_sizes).to(inputs.data.device)
        before = tuple(zip(*(s.chunk(2) for s in state), strict=True))
        ahead, last = self.forwards(inputs, before[0])
        back, first = self.backwards(inputs._replace(data=inputs.data.index_select(0, turned)), before[1])
        both = ahead.data, back.data.index_select(0, turned)  # turned twice is as it was
        outputs = torch.cat(both, dim=1) if self.combine == "concatenate" else both[0] + both[1]
        return ahead._replace(data=outputs), tuple(torch.cat(parts) for parts in zip(last, first, strict=True))


def mirrored(batch_sizes: Tensor) -> Tensor:
    """Where each packed position of a batch finds its mirror image within its own row, (sum of lengths) int64."""
    starts = batch_sizes.cumsum(0) - batch_sizes
    time = torch.repeat_interleave(batch_sizes)
    row = torch.arange(len(time)) - starts[time]
    lengths = torch.bincount(row)
    return starts[lengths[row] - 1 - time] + row
