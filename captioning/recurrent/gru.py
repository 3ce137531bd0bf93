"""The GRU of torch.nn, with single steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.recurrent.layer import Hidden


class GRU(nn.Module):
    """Gated recurrent unit with the reset gate after the recurrent matrix, with torch's fused kernel.

    Source: Cho et al. 2014 (arXiv:1406.1078), in the variant of Chung et al. and cuDNN.

        r, z = σ(W x_t + U h_{t-1} + b)           n = tanh(W_n x_t + b_n + r ⊙ (U_n h_{t-1} + b'_n))
        h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}

    Args:
        input_size: E.
        hidden_size: D.
        num_layers: L.
        dropout: between layers.
    """

    def __init__(self, input_size: int, hidden_size: int, *, num_layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.dropout = dropout
        self.fused = nn.GRU(input_size, hidden_size, num_layers, dropout=dropout if num_layers > 1 else 0.0)

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
            x = torch.gru_cell(x, h, *weights)
            layers.append(x)
        return x, (torch.stack(layers),)
