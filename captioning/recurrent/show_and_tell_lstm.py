"""The LSTM of the Show and Tell paper, without tanh on the cell and without bias."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.recurrent.layer import Hidden, initialise, run_cell, step_cell


class ShowAndTellLSTM(nn.Module):
    """The memory block of Show and Tell.

    Source: Vinyals et al. 2015 (arXiv:1411.4555), equations 4 to 8.

        i_t = σ(W_ix x_t + W_im m_{t-1})                            (4)
        f_t = σ(W_fx x_t + W_fm m_{t-1})                            (5)
        o_t = σ(W_ox x_t + W_om m_{t-1})                            (6)
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ tanh(W_cx x_t + W_cm m_{t-1})   (7)
        m_t = o_t ⊙ c_t                                             (8)

    The output is unbounded: the paper's (8) has no tanh. The official code (im2txt) has tanh and biases: its cell is
    `captioning.recurrent.LSTM`.

    Args:
        input_size: E.
        hidden_size: D.
        bias: whether (4) to (7) have biases, as in NeuralTalk's LSTM (arXiv:1412.2306, official code).
    """

    num_layers = 1

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = False) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.w_x = nn.Parameter(torch.empty(4 * hidden_size, input_size))  # rows: i, f, o, c
        self.w_m = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.b = nn.Parameter(torch.empty(4 * hidden_size)) if bias else None
        initialise(self, hidden_size)

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Return zeros: (m, c), (1, B, D) each."""
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
        m, c = state
        gates = torch.addmm(projected, m, self.w_m.t())
        i, f, o = gates[:, : 3 * self.hidden_size].sigmoid().chunk(3, dim=1)  # (4), (5), (6)
        c = f * c + i * gates[:, 3 * self.hidden_size :].tanh()  # (7)
        m = o * c  # (8)
        return m, (m, c)
