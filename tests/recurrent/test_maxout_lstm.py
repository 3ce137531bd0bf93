"""The FC model's cell of self-critical sequence training, one row at a time, in float64."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from captioning.recurrent import MaxoutLSTM


def literal(weights, x, h, c):
    """The paper's equations; the larger piece of the candidate is picked channel by channel."""
    w_ix, w_fx, w_ox, w_zx, w_zx2 = weights["w_x"].split(19)
    w_ih, w_fh, w_oh, w_zh, w_zh2 = weights["w_h"].split(19)
    b_i, b_f, b_o, b_z, b_z2 = weights["b"].split(19)
    i = torch.sigmoid(w_ix @ x + w_ih @ h + b_i)
    f = torch.sigmoid(w_fx @ x + w_fh @ h + b_f)
    o = torch.sigmoid(w_ox @ x + w_oh @ h + b_o)
    pieces = zip(w_zx @ x + w_zh @ h + b_z, w_zx2 @ x + w_zh2 @ h + b_z2, strict=True)
    c = i * torch.stack([a if a > b else b for a, b in pieces]) + f * c
    return o * torch.tanh(c), c


def test_equals_the_papers_equations_with_gradients(assert_is_the_equations):
    assert_is_the_equations(MaxoutLSTM(17, 19), literal)


def test_the_candidate_is_not_squashed():
    # Every gate open, the pieces 2x and -3x: the cell adds up 2 for x = 1 and 3 for x = -1, and no tanh bounds it.
    layer = MaxoutLSTM(1, 1)
    with torch.no_grad():
        layer.w_x.copy_(torch.tensor([[0.0], [0.0], [0.0], [2.0], [-3.0]]))
        layer.w_h.zero_()
        layer.b.copy_(torch.tensor([100.0, 100.0, 100.0, 0.0, 0.0]))
    state, total = layer.initial(1, like=torch.zeros(())), 0.0
    for x, added in ((1.0, 2.0), (-1.0, 3.0), (1.0, 2.0)):
        h, state = layer.step(torch.full((1, 1), x), state)
        total += added
        assert_close(state[1], torch.full((1, 1, 1), total))
        assert_close(h, state[1][0].tanh())


def test_parameter_count_of_the_paper():
    # 5 ((E + H) H + H): three gates and two pieces.
    count = sum(p.numel() for p in MaxoutLSTM(512, 512).parameters())
    assert count == 5 * ((512 + 512) * 512 + 512) == 2_624_000
