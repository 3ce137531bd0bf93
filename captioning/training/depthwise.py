"""Depthwise convolutions on a CPU in bfloat16, with gradients that take little longer than the convolutions themselves.

Each channel c has a kernel w of its own (arXiv:1704.04861, equation 3). With a stride of s,
y_c[k, l] = Σ_ij w_c[i, j] x_c[sk + i, sl + j]. Most of a training step of mobile networks such as EfficientNet goes
into the gradients, because oneDNN computes many of them slowly. Here they are made of calls that are fast:

- δx is a convolution of δy, with s - 1 zeros between its elements, by w turned by half a circle.
- δw of a kernel of 3 x 3 is oneDNN's own. That of a larger kernel is put together from parts of 3 x 3. The part at
  (i, j) is the gradient of a kernel of 3 x 3 that reads x from row i and column j on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_PART = 3
"""The size of the kernels whose gradients oneDNN computes fast."""


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve images. If the convolution is depthwise and in bfloat16 on a CPU, its gradients take less time.

    Those cannot be differentiated again. Arguments as for torch.nn.functional.conv2d.
    """
    autocast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if autocast else input.dtype
    differs = (
        input.device.type != "cpu"
        or dtype != torch.bfloat16
        or input.dim() != 4
        or not len(weight) == groups == input.shape[1]
        or weight.shape[1] != 1
        or min(weight.shape[2:]) < _PART
        or isinstance(padding, str)
        or any(p >= k for p, k in zip(_pair(padding), weight.shape[2:], strict=True))
        or _pair(dilation) != (1, 1)
    )
    if differs or not (torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    if autocast:
        input, weight, bias = input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    y: Tensor = _Depthwise.apply(input, weight, bias, _pair(stride), _pair(padding))
    return y


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.stride, ctx.padding = stride, padding
        ctx.save_for_backward(x, weight)
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_y = of_y.contiguous(memory_format=torch.channels_last)
        of_x = _of_input(of_y, weight, x.shape, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        of_weight = _of_kernel(of_y, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, of_y.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None, None


def _of_input(
    of_y: Tensor, weight: Tensor, shape: torch.Size, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Compute δx from δy, (I, C, rows, columns)."""
    size = weight.shape[2:]
    back = [k - 1 - p for k, p in zip(size, padding, strict=True)]
    if stride != (1, 1):
        rows, columns = (n + k - 1 - 2 * b for n, k, b in zip(shape[2:], size, back, strict=True))
        spread = of_y.new_zeros(shape[0], rows, columns, shape[1]).permute(0, 3, 1, 2)  # as channels last
        spread[:, :, :: stride[0], :: stride[1]][:, :, : of_y.shape[2], : of_y.shape[3]] = of_y
        of_y = spread
    return F.conv2d(of_y, weight.flip(2, 3), padding=back, groups=len(weight))


def _of_kernel(of_y: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """Compute δw from δy, (I, C, rows, columns)."""
    height, width = weight.shape[2:]
    part = weight[:, :, :_PART, :_PART]
    if part.shape == weight.shape:
        return _of_part(of_y, x, part, stride, padding)
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    read = [_PART + s * (n - 1) for s, n in zip(stride, of_y.shape[2:], strict=True)]
    of_weight = torch.empty_like(weight)
    for i in _starts(height):
        for j in _starts(width):
            window = x[:, :, i : i + read[0], j : j + read[1]].contiguous(memory_format=torch.channels_last)
            of_weight[:, :, i : i + _PART, j : j + _PART] = _of_part(of_y, window, part, stride, (0, 0))
    return of_weight


def _of_part(of_y: Tensor, x: Tensor, part: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """Compute the gradient of 3 x 3 kernels, (C, 1, 3, 3), whose values do not matter, by oneDNN."""
    of_part: Tensor = torch.ops.aten.convolution_backward(
        of_y, x, part, None, stride, padding, (1, 1), False, (0, 0), len(part), (False, True, False)
    )[1]
    return of_part


def _starts(size: int) -> list[int]:
    """Return where parts begin that cover a kernel of this size; parts may overlap."""
    return [min(start, size - _PART) for start in range(0, size, _PART)]


def _pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else (value if len(value) == 2 else value * 2)
    return first, second
