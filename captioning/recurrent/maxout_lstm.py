"""The LSTM of self-critical sequence training, with max-out in place of tanh in the candidate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.recurrent.layer import Hidden, initialise, run_cell, step_cell


class MaxoutLSTM(nn.Module):
    """Long short-term memory whose candidate is the larger of two linear maps.

    Source: Rennie et al. 2017 (arXiv:1612.00563), section 2, the FC model; the equations have no numbers.

        i_t, f_t, o_t = σ(W_x x_t + W_h h_{t-1} + b)                 each with its own W_x, W_h and b
        c_t = i_t ⊙ φ(W⊗_zx x_t + W⊗_zh h_{t-1} + b⊗_z) + f_t ⊙ c_{t-1}
        h_t = o_t ⊙ tanh(c_t)

    W⊗ maps to two pieces of width D; φ takes their maximum, unit by unit, without tanh.

    Args:
        input_size: E.
        hidden_size: D.
    """

    num_layers = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.w_x = nn.Parameter(torch.empty(5 * hidden_size, input_size))  # rows: i, f, o, both pieces of z
        self.w_h = nn.Parameter(torch.empty(5 * hidden_size, hidden_size))
        self.b = nn.Parameter(torch.empty(5 * hidden_size))
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
        gates, pieces = torch.addmm(projected, h, self.w_h.t()).tensor_split([3 * self.hidden_size], dim=1)
        i, f, o = gates.sigmoid().chunk(3, dim=1)
        c = i * torch.maximum(*pieces.chunk(2, dim=1)) + f * c
        h = o * torch.tanh(c)
        return h, (h, c)
