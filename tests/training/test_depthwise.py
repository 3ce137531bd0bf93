"""Depthwise convolutions in bfloat16 have the gradients of float64, as far as their numbers can hold them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from captioning.training.depthwise import conv2d
from captioning.training.on_cpu import OnCPU

pairs = st.tuples(st.integers(3, 8), st.integers(3, 8))


def close(found: Tensor, expected: Tensor) -> bool:
    """Return whether the difference is a few roundings of the largest number."""
    return bool((found.double() - expected).abs().max() <= 4 * torch.finfo(torch.bfloat16).eps * expected.abs().max())


def is_own(y: Tensor) -> bool:
    return type(y.grad_fn).__name__ == "_DepthwiseBackward"


@given(
    kernel=pairs,
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    more=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    has_bias=st.booleans(),
)
def test_output_and_gradients_are_those_of_float64(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], more: tuple[int, int], has_bias: bool
) -> None:
    torch.manual_seed(0)
    padding = min(padding[0], kernel[0] - 1), min(padding[1], kernel[1] - 1)
    size = kernel[0] + more[0], kernel[1] + more[1]
    tensors = [torch.randn(2, 4, *size), torch.randn(4, 1, *kernel), *([torch.randn(4)] if has_bias else [])]
    own = [t.bfloat16().requires_grad_() for t in tensors]
    wide = [t.detach().double().requires_grad_() for t in own]
    settings: dict[str, Any] = {"stride": stride, "padding": padding, "groups": 4}
    y, expected = conv2d(*own, **settings), F.conv2d(*wide, **settings)  # type: ignore[call-overload]
    of_y = torch.randn_like(y)
    assert is_own(y)
    assert close(y, expected)
    for found, reference in zip(
        torch.autograd.grad(y, own, of_y), torch.autograd.grad(expected, wide, of_y.double()), strict=True
    ):
        assert close(found, reference)


@pytest.mark.parametrize(
    "changed",
    [
        {"dilation": 2},
        {"padding": "same"},
        {"padding": 5},
        {"groups": 2, "weight": torch.ones(4, 2, 5, 5, dtype=torch.bfloat16, requires_grad=True)},
        {"groups": 4, "weight": torch.ones(8, 1, 5, 5, dtype=torch.bfloat16, requires_grad=True)},
        {"weight": torch.ones(4, 1, 1, 5, dtype=torch.bfloat16, requires_grad=True)},
        {"weight": torch.ones(4, 1, 5, 5, dtype=torch.bfloat16)},
        {"input": torch.ones(4, 9, 9, dtype=torch.bfloat16)},
    ],
)
def test_other_convolutions_are_those_of_torch(changed: dict[str, Any]) -> None:
    arguments = {
        "input": torch.ones(2, 4, 9, 9, dtype=torch.bfloat16),
        "weight": torch.ones(4, 1, 5, 5, dtype=torch.bfloat16, requires_grad=True),
        "groups": 4,
        **changed,
    }
    y = conv2d(**arguments)
    assert not is_own(y)
    assert torch.equal(y, F.conv2d(**arguments))


def test_float32_is_torchs_own() -> None:
    x, weight = torch.ones(1, 4, 5, 5), torch.ones(4, 1, 3, 3, requires_grad=True)
    assert not is_own(conv2d(x, weight, groups=4))


def test_training_in_mixed_precision_computes_gradients_of_float32_weights() -> None:
    layer = torch.nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4)
    x = torch.randn(2, 4, 9, 9)
    with torch.autocast("cpu", torch.bfloat16), OnCPU():
        y = layer(x)
    assert is_own(y)
    assert y.dtype == torch.bfloat16
    (found,) = torch.autograd.grad(y.float().square().sum(), [layer.weight])
    wide = layer.double()
    (expected,) = torch.autograd.grad(wide(x.double()).square().sum(), [wide.weight])
    assert found.dtype == torch.float32
    assert close(found, expected)
