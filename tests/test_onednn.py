"""oneDNN's functions equal torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from captioning.onednn import linear, tanh

DTYPES = (torch.float64, torch.float32, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (1, 7), (0, 7)], ids=str)
def test_a_product_is_that_of_torch(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, w, b = (torch.randn(size).to(dtype) for size in (shape, (11, 7), (11,)))
    assert_close(linear(x, w, b), F.linear(x, w, b))
    assert_close(linear(x, w), F.linear(x, w))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_matrices_may_be_transposed(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, w = torch.randn(7, 5).to(dtype), torch.randn(7, 11).to(dtype)
    assert_close(linear(x.T, w.T), x.T @ w)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (0, 7)], ids=str)
def test_tanh_and_its_gradient_are_those_of_torch(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = (3 * torch.randn(shape).to(dtype)).requires_grad_()
    (found,) = torch.autograd.grad(tanh(x).sum(), x)
    (wanted,) = torch.autograd.grad(x.tanh().sum(), x)
    assert_close(tanh(x), x.tanh())
    assert_close(found, wanted)


def test_a_transposed_tensor_is_not_changed_by_tanh() -> None:
    x = torch.linspace(-1, 1, 15).view(3, 5)
    before = x.clone()
    assert_close(tanh(x.T), before.tanh().T)
    assert torch.equal(x, before)


class Strides(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records whether the matrices of oneDNN's products are dense."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dense = list[bool]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ == "_linear_pointwise":
            self.dense += [x.is_contiguous() or x.mT.is_contiguous() for x in args[:2]]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("transposed", [False, True])
def test_columns_of_a_matrix_are_copied_as_oneDNN_is_a_thousand_times_slower_with_them(transposed: bool) -> None:
    torch.manual_seed(0)
    x, w = torch.randn(2, 7, 9)[..., 1:6]
    if transposed:
        x, w = x.T, w.T
    linear(torch.ones(1, 1), torch.ones(1, 1))  # the first call tries what this machine has
    with Strides() as strides:
        found = linear(x, w)
    assert_close(found, x @ w.T)
    assert all(strides.dense)
