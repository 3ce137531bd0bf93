"""The LSTM with peephole connections, whose gates read the cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.recurrent.layer import Hidden, initialise, run_cell, step_cell


class PeepholeLSTM(nn.Module):
    """Long short-term memory with peephole connections.

    Source: Graves 2013 (arXiv:1308.0850), equations 7 to 11; W_ci, W_cf and W_co are diagonal.

        i_t = σ(W_xi x_t + W_hi h_{t-1} + W_ci c_{t-1} + b_i)               (7)
        f_t = σ(W_xf x_t + W_hf h_{t-1} + W_cf c_{t-1} + b_f)               (8)
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ tanh(W_xc x_t + W_hc h_{t-1} + b_c)     (9)
        o_t = σ(W_xo x_t + W_ho h_{t-1} + W_co c_t + b_o)                   (10)
        h_t = o_t ⊙ tanh(c_t)                                               (11)

    The output gate reads the new cell, the other two read the old one.

    Args:
        input_size: E.
        hidden_size: D.
    """

    num_layers = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.w_x = nn.Parameter(torch.empty(4 * hidden_size, input_size))  # rows: i, f, c, o
        self.w_h = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.w_c = nn.Parameter(torch.empty(3, hidden_size))  # the diagonals of W_ci, W_cf, W_co
        self.b = nn.Parameter(torch.empty(4 * hidden_size))
        initialise(self, hidden_size)

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Return zeros: (h, c), (1, B, D) each."""
        zeros = like.new_zeros(1, batch_size, self.hidden_size)
        return zeros, zeros

    def forward(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """See `RecurrentLayer`."""
        state = state or self.initial(int(inputs.batch_sizes[0]), like=inputs.data)
        projected = inputs._replace(data=F.linear(inputs.data, self.w_x, self.b))  # all steps in one product
        return run_cell(self._cell, projected, state)

    def step(self, inputs: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """See `RecurrentLayer`."""
        state = state or self.initial(inputs.shape[0], like=inputs)
        return step_cell(self._cell, F.linear(inputs, self.w_x, self.b), state)

    def _cell(self, projected: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        h, c = state
        w_ci, w_cf, w_co = self.w_c
        i, f, g, o = torch.addmm(projected, h, self.w_h.t()).chunk(4, dim=1)
        i = torch.sigmoid(i + w_ci * c)  # (7)
        f = torch.sigmoid(f + w_cf * c)  # (8)
        c = f * c + i * torch.tanh(g)  # (9)
        o = torch.sigmoid(o + w_co * c)  # (10)
        h = o * torch.tanh(c)  # (11)
        return h, (h, c)
