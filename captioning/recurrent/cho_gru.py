"""The gated recurrent unit as first published: the reset gate acts before the recurrent matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.recurrent.layer import Hidden, initialise, run_cell, step_cell


class ChoGRU(nn.Module):
    """The hidden unit of the RNN encoder-decoder, with the reset gate before the recurrent matrix.

    Source: Cho et al. 2014 (arXiv:1406.1078), equations 5 to 8.

        r = σ(W_r x_t + U_r h_{t-1})              (5)
        z = σ(W_z x_t + U_z h_{t-1})              (6)
        h_t = z ⊙ h_{t-1} + (1 - z) ⊙ h̃           (7)
        h̃ = tanh(W x_t + U (r ⊙ h_{t-1}))         (8)

    In `captioning.recurrent.GRU` the reset gate acts after U, so neither can use the weights of the other.

    Args:
        input_size: E.
        hidden_size: D.
        bias: whether W_r x, W_z x and W x have biases, as in TensorFlow's GRUCell; the paper prints none.
    """

    num_layers = 1

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = False) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.w = nn.Parameter(torch.empty(3 * hidden_size, input_size))  # rows: r, z, h̃
        self.u_rz = nn.Parameter(torch.empty(2 * hidden_size, hidden_size))
        self.u = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.b = nn.Parameter(torch.empty(3 * hidden_size)) if bias else None
        initialise(self, hidden_size)

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Return zeros: (h,), (1, B, D)."""
        return (like.new_zeros(1, batch_size, self.hidden_size),)

    def forward(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """See `RecurrentLayer`."""
        state = state or self.initial(int(inputs.batch_sizes[0]), like=inputs.data)
        projected = inputs._replace(data=F.linear(inputs.data, self.w, self.b))  # all steps in one product
        return run_cell(self._cell, projected, state)

    def step(self, inputs: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """See `RecurrentLayer`."""
        state = state or self.initial(inputs.shape[0], like=inputs)
        return step_cell(self._cell, F.linear(inputs, self.w, self.b), state)

    def _cell(self, projected: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        (h,) = state
        gates, candidate = projected.tensor_split([2 * self.hidden_size], dim=1)
        r, z = torch.addmm(gates, h, self.u_rz.t()).sigmoid().chunk(2, dim=1)  # (5), (6)
        candidate = torch.addmm(candidate, r * h, self.u.t()).tanh()  # (8)
        h = z * h + (1 - z) * candidate  # (7)
        return h, (h,)
