"""The LSTM that Show and Tell prints: no bias, no tanh on the cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.recurrent.layer import Hidden, unroll


class ShowAndTellLSTM(nn.Module):
    """The memory block of Show and Tell.

    Source: Vinyals et al. 2015 (arXiv:1411.4555), equations 4 to 8.

        i_t = σ(W_ix x_t + W_im m_{t-1})                            (4)
        f_t = σ(W_fx x_t + W_fm m_{t-1})                            (5)
        o_t = σ(W_ox x_t + W_om m_{t-1})                            (6)
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ tanh(W_cx x_t + W_cm m_{t-1})   (7)
        m_t = o_t ⊙ c_t                                             (8)

    The cell is unbounded: the paper's (8) has no tanh. The authors' released code (im2txt) has it, and
    biases: its cell is `captioning.recurrent.LSTM`.

    Args:
        input_size: E.
        hidden_size: D.
    """

    num_layers = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.w_x = nn.Parameter(torch.empty(4 * hidden_size, input_size))  # rows: i, f, o, c
        self.w_m = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        for w in (self.w_x, self.w_m):
            nn.init.uniform_(w, -(hidden_size**-0.5), hidden_size**-0.5)

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """Zeros: (m, c), (1, B, D) each."""
        zeros = like.new_zeros(1, batch_size, self.hidden_size)
        return zeros, zeros

    def forward(self, inputs: PackedSequence, state: Hidden) -> tuple[PackedSequence, Hidden]:
        """See `RecurrentLayer`."""
        projected = inputs._replace(data=F.linear(inputs.data, self.w_x))  # all steps in one product
        outputs, (m, c) = unroll(self._cell, projected, tuple(s[0] for s in state))
        return outputs, (m[None], c[None])

    def step(self, inputs: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        """See `RecurrentLayer`."""
        output, (m, c) = self._cell(F.linear(inputs, self.w_x), tuple(s[0] for s in state))
        return output, (m[None], c[None])

    def _cell(self, projected: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        m, c = state
        gates = torch.addmm(projected, m, self.w_m.t())
        i, f, o = gates[:, : 3 * self.hidden_size].sigmoid().chunk(3, dim=1)  # (4), (5), (6)
        c = f * c + i * gates[:, 3 * self.hidden_size :].tanh()  # (7)
        m = o * c  # (8)
        return m, (m, c)
