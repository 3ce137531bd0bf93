"""The simple recurrent network of torch.nn, with single steps."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.recurrent.layer import Hidden


class Elman(nn.Module):
    """Elman's simple recurrent network, with torch's fused kernel.

    Source: Elman 1990, "Finding structure in time".
    Differs: f is tanh or ReLU; in the paper it is the logistic function.

        h_t = f(W x_t + U h_{t-1} + b)

    torch has two biases, one with W x and one with U h.

    Args:
        input_size: E.
        hidden_size: D.
        num_layers: L.
        dropout: between layers.
        nonlinearity: f, "tanh" or "relu".
        bias: whether there is b.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.dropout = dropout
        between = dropout if num_layers > 1 else 0.0
        self.fused = nn.RNN(input_size, hidden_size, num_layers, nonlinearity, bias, dropout=between)
        self._cell = torch.rnn_tanh_cell if nonlinearity == "tanh" else torch.rnn_relu_cell

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Return zeros: (h,), (L, B, D)."""
        return (like.new_zeros(self.num_layers, batch_size, self.hidden_size),)

    def forward(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """See `RecurrentLayer`."""
        outputs, final = self.fused(inputs, *(state or ()))
        return outputs, (final,)

    def step(self, inputs: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """See `RecurrentLayer`."""
        state = state or self.initial(inputs.shape[0], like=inputs)
        x, layers = inputs, list[Tensor]()
        for weights, h in zip(self.fused.all_weights, *state, strict=True):
            if layers:
                x = F.dropout(x, self.dropout, self.training)
            x = self._cell(x, h, *weights)
            layers.append(x)
        return x, (torch.stack(layers),)
