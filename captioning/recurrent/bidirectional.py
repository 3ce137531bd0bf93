"""A bidirectional layer: one layer reads forwards, another reads backwards."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.errors import InputError
from captioning.recurrent.layer import Hidden, RecurrentFactory


class Bidirectional(nn.Module):
    """Two layers over the same inputs; the second starts at each row's own end.

    Source: Schuster & Paliwal 1997, "Bidirectional recurrent neural networks".

        →h_t = forwards(x_t, →h_{t-1})      ←h_t = backwards(x_t, ←h_{t+1})
        h_t = [→h_t; ←h_t]   or   →h_t + ←h_t

    Each output depends on the whole row, so there is no `step`, and decoders cannot use this layer. A `Stacked` of
    these is torch.nn.LSTM(num_layers=.., bidirectional=True). In the first dimension of the state, `forwards` comes
    before `backwards`.

    Args:
        input_size: E.
        hidden_size: D, the width of the outputs; each direction has half of it if they are concatenated.
        layer: builds the layer of each direction.
        combine: "concatenate", as in torch and in Bahdanau et al. (arXiv:1409.0473), or "sum", as in Karpathy and
            Fei-Fei (arXiv:1412.2306).

    Raises:
        InputError: `combine` is neither "concatenate" nor "sum", or outputs are concatenated and D is odd.
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
            raise InputError(f"combine={combine} must be concatenate or sum")
        if combine == "concatenate" and hidden_size % 2:
            raise InputError(
                f"hidden_size={hidden_size} must be even to be shared by two directions; or set combine=sum"
            )
        self.input_size, self.hidden_size = input_size, hidden_size
        self.combine = combine
        width = hidden_size // 2 if combine == "concatenate" else hidden_size
        self.forwards, self.backwards = layer(input_size, width), layer(input_size, width)
        self.num_layers = self.forwards.num_layers

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Return the initial states of both directions, (2L, B, ..) each."""
        both = self.forwards.initial(batch_size, like), self.backwards.initial(batch_size, like)
        return tuple(torch.cat(parts) for parts in zip(*both, strict=True))

    def forward(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """See `SequenceLayer`."""
        state = state or self.initial(int(inputs.batch_sizes[0]), like=inputs.data)
        turned = mirrored(inputs.batch_sizes).to(inputs.data.device)
        before = tuple(zip(*(s.chunk(2) for s in state), strict=True))
        ahead, last = self.forwards(inputs, before[0])
        back, first = self.backwards(inputs._replace(data=inputs.data.index_select(0, turned)), before[1])
        both = ahead.data, back.data.index_select(0, turned)  # reversed twice is the original order
        outputs = torch.cat(both, dim=1) if self.combine == "concatenate" else both[0] + both[1]
        return ahead._replace(data=outputs), tuple(torch.cat(parts) for parts in zip(last, first, strict=True))


def mirrored(batch_sizes: Tensor) -> Tensor:
    """Return the index that reverses each row of a packed batch, (sum of lengths) int64."""
    starts = batch_sizes.cumsum(0) - batch_sizes
    time = torch.repeat_interleave(batch_sizes)
    row = torch.arange(len(time)) - starts[time]
    lengths = torch.bincount(row)
    return starts[lengths[row] - 1 - time] + row
