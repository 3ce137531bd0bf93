"""The floor of a decoder's time: its matrix products alone, each by the fastest path that this machine has."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from captioning.benchmarks.timing import seconds
from captioning.onednn import linear

Run = Callable[[], object]
_TRIALS, _TRIED_SECONDS = 5, 0.2
"""How often each path is tried, and after how much time no more."""


@dataclass(frozen=True)
class Product:
    """A matrix product (rows, inputs) x (inputs, outputs), or a batch of them.

    Attributes:
        rows: the rows of the left matrix.
        inputs: the columns of the left matrix.
        outputs: the columns of the right matrix.
        weight: tells right matrices of the same shape apart, because each has its own memory.
        batch: the number of products that are computed together, each with its own right matrix; 0 for one product.
    """

    rows: int
    inputs: int
    outputs: int
    weight: int = 0
    batch: int = 0

    @property
    def multiplications(self) -> int:
        """The number of multiplications."""
        return max(1, self.batch) * self.rows * self.inputs * self.outputs


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the matrix products that torch computes while it is active.

    A sum of embeddings with weights counts as a batch of products, one for each image. If the rows cannot be divided
    evenly among the images, each has as many as the average, rounded up.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Product] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Record the call and make it."""
        match func.overloadpacket.__name__:
            case "mm":
                self.found.append(_product(args[0], args[1]))
            case "addmm":
                self.found.append(_product(args[1], args[2]))
            case "_linear_pointwise":
                self.found.append(_product(args[0], args[1].T))
            case "bmm":
                (batch, rows, inputs), outputs = args[0].shape, args[1].shape[2]
                self.found.append(Product(rows, inputs, outputs, _memory(args[1]), batch))
            case "_embedding_bag" | "_embedding_bag_forward_only":
                values, num_rows = args[0], len(args[2])
                num_regions = len(args[1]) // num_rows
                num_images = len(values) // num_regions
                rows = -(-num_rows // num_images)
                batch = -(-num_rows // rows)
                self.found.append(Product(rows, num_regions, values.shape[1], _memory(values), batch))
        return func(*args, **(kwargs or {}))


def _product(left: Tensor, right: Tensor) -> Product:
    return Product(len(left), left.shape[1], right.shape[1], _memory(right))


def _memory(x: Tensor) -> int:
    return x.data_ptr()


def recorded(run: Run) -> list[Product]:
    """List the matrix products of one call, in their order."""
    linear(torch.ones(1, 1), torch.ones(1, 1))  # the first call of all tries whether this machine can
    products = Products()
    with products:
        run()
    return products.found


def merged(products: Iterable[Product]) -> list[Product]:
    """Count products with the same right matrix that follow each other as one with all their rows."""
    found: list[Product] = []
    for product in products:
        if found and not product.batch and replace(found[-1], rows=product.rows) == product:
            product = replace(product, rows=product.rows + found.pop().rows)
        found.append(product)
    return found


def fastest(products: Iterable[Product], dtype: torch.dtype) -> Run:
    """Build a function that computes products of random matrices, each of them by the path that is the fastest here.

    Results are written into memory that was used before, and no bias is added.
    """
    order = list(products)
    weights = {key: torch.randn(key[1:]).to(dtype) for key in dict.fromkeys(map(_weight, order))}
    inputs = {key: torch.randn(key).to(dtype) for key in dict.fromkeys(map(_input, order))}
    best = {p: _fastest(paths(inputs[_input(p)], weights[_weight(p)])) for p in dict.fromkeys(order)}
    runs = [best[product] for product in order]

    @torch.inference_mode()
    def run() -> None:
        for product in runs:
            product()

    return run


def _weight(p: Product) -> tuple[int, ...]:
    return (p.weight, p.batch, p.outputs, p.inputs) if p.batch else (p.weight, p.outputs, p.inputs)


def _input(p: Product) -> tuple[int, ...]:
    return (p.batch, p.rows, p.inputs) if p.batch else (p.rows, p.inputs)


@torch.inference_mode()
def paths(x: Tensor, weight: Tensor) -> dict[str, Run]:
    """List the ways in which torch computes x · weightᵀ for x (.., rows, inputs) and a weight (.., outputs, inputs)."""
    multiply: Any = torch.bmm if x.ndim == 3 else torch.mm
    out, transposed = x.new_empty(*x.shape[:-1], weight.shape[-2]), weight.mT.contiguous()
    found: dict[str, Run] = {
        "as stored": lambda: multiply(x, weight.mT, out=out),
        "transposed": lambda: multiply(x, transposed, out=out),
    }
    if x.ndim == 3:
        return found
    for name, build in (("packed by MKL", _mkl), ("packed by oneDNN", _onednn)):
        try:
            run = build(x, weight)
            run()
        except (RuntimeError, AttributeError, NotImplementedError):
            continue  # this build of torch, this processor or this dtype has no such path
        found[name] = run
    return found


def _mkl(x: Tensor, weight: Tensor) -> Run:
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, len(x))
    return lambda: torch.ops.mkl._mkl_linear(x, packed, weight, None, len(x))


def _onednn(x: Tensor, weight: Tensor) -> Run:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
    return lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


@torch.inference_mode()
def _fastest(choices: Mapping[str, Run]) -> Run:
    times: dict[str, list[float]] = {name: [] for name in choices}
    spent = 0.0
    for trial in range(1 + _TRIALS):
        if trial > 1 and spent > _TRIED_SECONDS * len(choices):
            break
        for name, run in choices.items():
            times[name].append(seconds(run))
            spent += times[name][-1]
    return choices[min(times, key=lambda name: statistics.median(times[name][1:]))]
