"""Back-propagation through time for an LSTM, with one product for the gradient of each matrix.

    i, f, o = σ(a)      g = tanh(a_g)      a = W x_t + b + U h_{t-1}
    c_t = f ⊙ c_{t-1} + i ⊙ g              h_t = o ⊙ tanh(c_t)

With δx for the gradient of the loss with respect to x, and δh_t from the loss and from step t + 1:

    δo = δh_t ⊙ tanh(c_t)                  δc_t += δh_t ⊙ o ⊙ (1 - tanh²(c_t))
    δi = δc_t ⊙ g                          δf = δc_t ⊙ c_{t-1}          δg = δc_t ⊙ i
    δa = (δi i (1 - i), δf f (1 - f), δg (1 - g²), δo o (1 - o))
    δh_{t-1} = Uᵀ δa_t                     δc_{t-1} = δc_t ⊙ f
    δx_t = Wᵀ δa_t                         δW = Σ_t δa_t x_tᵀ           δU = Σ_t δa_t h_{t-1}ᵀ

Source: Hochreiter & Schmidhuber 1997, with the full gradient of Graves & Schmidhuber 2005.

Automatic differentiation computes δU as a sum of one product for each step. On a CPU, each product of a few rows and
each addition of a matrix as large as U costs about as much time as the step itself. Here the sum is one product over
all steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from captioning.onednn import linear

Outputs = tuple[Tensor, Tensor, Tensor]


def lstm_through_time(x: Tensor, sizes: list[int], h: Tensor, c: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Outputs:
    """Run one LSTM layer over packed sequences. Gradients of the results cannot be differentiated again.

    Under autocast, products have its precision, and everything else that of the arguments.

    Args:
        x: inputs of all steps, (N, E): those of the first step, then those of the second step, and so on.
        sizes: the number of rows of each step, which never grows.
        h: the state before the first step, (B, D). B is the number of rows of the first step.
        c: the cell before the first step, (B, D).
        w: W, (4D, E), in the order i, f, g, o.
        u: U, (4D, D).
        b: b, (4D).

    Returns:
        The outputs of all steps, (N, D), and h and c after each row's own last step, (B, D) each.
    """
    autocast = torch.is_autocast_enabled(x.device.type)
    dtype = torch.get_autocast_dtype(x.device.type) if autocast else x.dtype
    found: Outputs = _ThroughTime.apply(x, h, c, w, u, b, sizes, dtype)
    return found


class _ThroughTime(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor, w: Tensor, u: Tensor, b: Tensor, sizes: list[int], dtype: torch.dtype
    ) -> Outputs:
        with torch.autocast(x.device.type, enabled=False):
            x, w, u = x.to(dtype), w.to(dtype), u.to(dtype)
            ends_h, ends_c = h.to(b.dtype, copy=True), c.to(b.dtype, copy=True)
            gates = linear(x, w).to(b.dtype).add_(b)  # (N, 4D), a of all steps but for U h
            outputs, before, cells = (b.new_empty(len(x), h.shape[1]) for _ in range(3))
            cells_before = torch.empty_like(cells)
            for rows, num in _steps(sizes):
                h, c, a = ends_h[:num], ends_c[:num], gates[rows]
                before[rows], cells_before[rows] = h, c
                i, f, g, o = a.add_(linear(h.to(dtype), u)).chunk(4, 1)
                i.sigmoid_(), f.sigmoid_(), g.tanh_(), o.sigmoid_()
                c.mul_(f).addcmul_(i, g)
                torch.tanh(c, out=cells[rows])
                torch.mul(o, cells[rows], out=outputs[rows])
                h.copy_(outputs[rows])
        ctx.save_for_backward(x, w, u, gates, cells, cells_before, before)
        ctx.sizes = sizes
        return outputs, ends_h, ends_c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_h: Tensor, d_c: Tensor) -> tuple[Tensor | None, ...]:
        x, w, u, gates, cells, cells_before, before = ctx.saved_tensors
        d_h, d_c, d_gates = d_h.clone(), d_c.clone(), torch.empty_like(gates)
        with torch.autocast(x.device.type, enabled=False):
            for rows, num in reversed(_steps(ctx.sizes)):
                (i, f, g, o), (d_i, d_f, d_g, d_o) = gates[rows].chunk(4, 1), d_gates[rows].chunk(4, 1)
                tanh_c, h, c = cells[rows], d_h[:num], d_c[:num]
                h += d_outputs[rows]
                c.addcmul_(h * o, 1 - tanh_c * tanh_c)
                torch.mul(h * tanh_c, o * (1 - o), out=d_o)
                torch.mul(c * g, i * (1 - i), out=d_i)
                torch.mul(c * cells_before[rows], f * (1 - f), out=d_f)
                torch.mul(c * i, 1 - g * g, out=d_g)
                c.mul_(f)
                h.copy_(linear(d_gates[rows].to(u.dtype), u.T))
            d_a = d_gates.to(w.dtype)
            d_x, d_w, d_u = linear(d_a, w.T), linear(d_a.T, x.T), linear(d_a.T, before.to(w.dtype).T)
        return d_x, d_h, d_c, d_w, d_u, d_gates.sum(0), None, None


def _steps(sizes: list[int]) -> list[tuple[slice, int]]:
    """Return the rows of each step among those of all steps, and how many they are."""
    steps, start = [], 0
    for num in sizes:
        steps.append((slice(start, start + num), num))
        start += num
    return steps
