"""The LSTM of torch.nn, with single steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.recurrent.layer import Hidden, permuted
from captioning.recurrent.through_time import lstm_through_time


class LSTM(nn.Module):
    """Long short-term memory with input, forget and output gates and tanh on the cell.

    Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000. Uses torch's fused
    kernel, and on a CPU that trains `captioning.recurrent.through_time`.

        i, f, o = σ(W x_t + U h_{t-1} + b)        g = tanh(W_g x_t + U_g h_{t-1} + b_g)
        c_t = f ⊙ c_{t-1} + i ⊙ g                 h_t = o ⊙ tanh(c_t)

    Args:
        input_size: E.
        hidden_size: D.
        num_layers: L.
        dropout: between layers.
        forget_bias: added to the initial bias of the forget gate; 1 in TensorFlow's cell.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        forget_bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.dropout = dropout
        self.fused = nn.LSTM(input_size, hidden_size, num_layers, dropout=dropout if num_layers > 1 else 0.0)
        with torch.no_grad():
            for _, _, b_ih, _ in self.fused.all_weights:
                b_ih[hidden_size : 2 * hidden_size] += forget_bias

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Return zeros: (h, c), (L, B, D) each."""
        zeros = like.new_zeros(self.num_layers, batch_size, self.hidden_size)
        return zeros, zeros

    def forward(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """See `RecurrentLayer`."""
        if inputs.data.device.type == "cpu" and torch.is_grad_enabled():
            return self._through_time(inputs, state or self.initial(int(inputs.batch_sizes[0]), like=inputs.data))
        outputs, final = self.fused(inputs, state)
        return outputs, final

    def _through_time(self, inputs: PackedSequence, state: Hidden) -> tuple[PackedSequence, Hidden]:
        x, sizes, layers = inputs.data, inputs.batch_sizes.tolist(), list[Hidden]()
        for (w, u, b_w, b_u), *before in zip(self.fused.all_weights, *state, strict=True):
            if layers:
                x = F.dropout(x, self.dropout, self.training)
            h, c = permuted(tuple(before), inputs.sorted_indices)
            x, h, c = lstm_through_time(x, sizes, h, c, w, u, b_w + b_u)
            layers.append(permuted((h, c), inputs.unsorted_indices))
        return inputs._replace(data=x), tuple(torch.stack(s) for s in zip(*layers, strict=True))

    def step(self, inputs: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """See `RecurrentLayer`."""
        state = state or self.initial(inputs.shape[0], like=inputs)
        x, layers = inputs, list[Hidden]()
        trains_on_cpu = inputs.device.type == "cpu" and torch.is_grad_enabled()
        cell = _cell_of_linear_layers if trains_on_cpu else torch.lstm_cell
        for weights, h, c in zip(self.fused.all_weights, *state, strict=True):
            if layers:
                x = F.dropout(x, self.dropout, self.training)
            x, c = cell(x, (h, c), *weights)
            layers.append((x, c))
        return x, tuple(torch.stack(s) for s in zip(*layers, strict=True))


def _cell_of_linear_layers(x: Tensor, hc: Hidden, w: Tensor, u: Tensor, b_w: Tensor, b_u: Tensor) -> Hidden:
    """Compute torch.lstm_cell with linear layers, which `captioning.training.on_cpu` computes in less time."""
    h, c = hc
    a = F.linear(x, w, b_w).to(c.dtype) + F.linear(h, u, b_u).to(c.dtype)
    i, f, g, o = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c
