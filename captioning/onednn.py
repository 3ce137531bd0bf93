"""Functions that oneDNN computes in less time than torch does by itself on a CPU.

In float32, torch multiplies by MKL, which uses half of the vector width of processors that are not Intel's, and so does
its tanh. oneDNN uses all of it. In bfloat16, torch multiplies by oneDNN anyway.

torch has this product, which its compiler uses, but under no public name. It is tried before it is used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x Wᵀ + b without gradients.

    Args:
        x: (.., inputs).
        weight: W, (outputs, inputs). Like x it may be a transposed matrix, which costs no more. Other
            views, such as some columns of a matrix, are copied.
        bias: b, (outputs), or None.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or not x.numel() or not _multiplies():
        return F.linear(x, weight, bias)
    y: Tensor = torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "none", [], "")
    return y


def _dense(x: Tensor) -> Tensor:
    """Copy x if it is neither a whole matrix nor the transpose of one: of others, oneDNN's products are very slow."""
    return x if x.is_contiguous() or x.mT.is_contiguous() else x.contiguous()


def tanh(x: Tensor) -> Tensor:
    """Compute the hyperbolic tangent of a tensor of any shape. Its gradient cannot be differentiated again."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not x.numel() or not _has_tanh(x.dtype):
        return x.tanh()  # a graph that is traced, such as for ONNX, has public functions alone
    y: Tensor = _Tanh.apply(x)
    return y


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = _tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        of_x: Tensor = torch.ops.aten.tanh_backward(of_y, y)
        return of_x


def _tanh(x: Tensor) -> Tensor:
    return torch.tanh_(x.to_mkldnn()).to_dense()


@cache
def _multiplies() -> bool:
    """Return whether this torch, on this processor, has oneDNN's products in float32, and they are right."""
    x, weight, bias = (torch.linspace(-1, 1, n) for n in (3 * 64, 32 * 64, 32))
    x, weight = x.view(64, 3).T, weight.view(64, 32).T
    try:
        found = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return torch.allclose(found.double(), F.linear(x.double(), weight.double(), bias.double()), rtol=1e-5, atol=1e-5)


@cache
def _has_tanh(dtype: torch.dtype) -> bool:
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    x = torch.linspace(-4, 4, 64, dtype=dtype)
    try:
        found = _tanh(x)
    except (NotImplementedError, RuntimeError):
        return False
    return torch.allclose(found.float(), x.float().tanh(), rtol=2 * torch.finfo(dtype).eps, atol=0)
