"""What a step of training computes in another way on a CPU, in less time: linear layers, dropout and convolutions.

`OnCPU` replaces three functions of torch.nn.functional while the loss is computed, so that encoders, decoders and
objectives are written as their papers are.

- A linear layer adds its inputs and the gradients of its outputs to a list, and the gradient of its weight is one
  product when the list is complete: ΔW = Σ_t δy_t x_tᵀ, for all times t at which the layer was used. Automatic
  differentiation computes one product for each t and adds them up. In a loop over time, each such product is of a
  few rows, and costs little less than to write a matrix as large as W.
- Products in float32 are oneDNN's; see `captioning.onednn`.
- Dropout draws 16 random bits for each number. torch's draws take a tenth to a sixth of a step of 48 or 80 captions.
- Gradients of depthwise convolutions in bfloat16 are those of `captioning.training.depthwise`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from captioning.onednn import linear
from captioning.training.depthwise import conv2d

_SMALLEST = 2**14
"""The number of weights from which a layer takes longer than what is done here around its products."""


class OnCPU(TorchFunctionMode):
    """Computes some functions of one forward pass in less time, and their gradients in its backward passes.

    The gradients of linear layers and depthwise convolutions cannot be differentiated again. On other devices nothing
    changes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._weights: dict[tuple[Tensor, Tensor | None, torch.dtype], tuple[Tensor, _Weight]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call `func`, or what replaces it."""
        kwargs = kwargs or {}
        if func is F.linear:
            return self._linear(*args, **kwargs)
        if func is F.dropout:
            return dropout(*args, **kwargs)
        if func is F.conv2d:
            return conv2d(*args, **kwargs)
        return func(*args, **kwargs)

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        trained = weight.requires_grad and weight.is_leaf and torch.is_grad_enabled()
        if weight.device.type != "cpu" or weight.numel() < _SMALLEST or not trained:
            return F.linear(input, weight, bias)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
        key = weight, bias, dtype
        if key not in self._weights:
            own = _Weight(*key)
            self._weights[key] = _Gradient.apply(weight, bias, own), own
        y: Tensor = _Product.apply(input, *self._weights[key])
        return y


class _Weight:
    """The weight and bias of a linear layer in one forward pass.

    Attributes:
        weight: W, converted to the dtype of products.
        bias: b, converted as well, or None.
        pairs: x_t, (n, inputs), and δy_t, (n, outputs), of the products whose backward pass was run.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.weight, self.bias = weight.detach().to(dtype), None if bias is None else bias.detach().to(dtype)
        self.pairs = list[tuple[Tensor, Tensor]]()


class _Gradient(torch.autograd.Function):
    """Computes the gradient of a weight after those of its products, each of which takes its result as an argument."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, own: _Weight) -> Tensor:
        ctx.own, ctx.dtypes = own, (weight.dtype, None if bias is None else bias.dtype)
        return torch.zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, num_products: Tensor) -> tuple[Tensor | None, ...]:
        # Pairs before these are of a backward pass that asked for other gradients than this one.
        pairs = ctx.own.pairs[-int(num_products) :]
        ctx.own.pairs.clear()
        x, of_y = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in zip(*pairs, strict=True))
        of_bias = of_y.sum(0).to(ctx.dtypes[1]) if ctx.needs_input_grad[1] else None
        return linear(of_y.T, x.T).to(ctx.dtypes[0]), of_bias, None


class _Product(torch.autograd.Function):
    """Computes x Wᵀ + b, and the gradient of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _: Tensor, own: _Weight) -> Tensor:
        ctx.own, ctx.dtype, ctx.shape = own, x.dtype, x.shape
        with torch.autocast("cpu", enabled=False):
            x = x.to(own.weight.dtype)
            ctx.save_for_backward(x)
            return linear(x, own.weight, own.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        of_y = of_y.reshape(-1, of_y.shape[-1]).contiguous()
        ctx.own.pairs.append((x.reshape(-1, x.shape[-1]), of_y))
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = linear(of_y, ctx.own.weight.T).view(ctx.shape).to(ctx.dtype)
        return of_x, torch.ones(()), None


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Set elements to zero with a probability of `p`, rounded to 16 bits, and divide the others by that of the rest.

    Arguments as for torch.nn.functional.dropout.
    """
    num_kept = round((1 - p) * 2**16)  # of all 2**16 numbers
    if input.device.type != "cpu" or not training or inplace or not 0 < num_kept < 2**16:
        return F.dropout(input, p, training, inplace)
    bits = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = bits[: input.numel()].view(input.shape) < num_kept - 2**15
    return input * kept.to(input.dtype).mul_(2**16 / num_kept)
