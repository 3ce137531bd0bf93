"""Find and remove layers of a third-party network by recording a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captioning.encoders.transform import ImageTransform


class Call(NamedTuple):
    """One call of a module: its name in the network, the module, and its output."""

    name: str
    module: nn.Module
    output: Any


def example(transform: ImageTransform) -> Tensor:
    """Create a grey image (1, 3, H, W) to run a network on."""
    return torch.zeros(1, 3, *transform.size)


def record_calls(network: nn.Module, run: Callable[[], Any]) -> tuple[list[Call], Any]:
    """Record the calls of all submodules while `run` runs, in evaluation mode without gradients.

    Returns:
        The calls in the order in which they ended, so that a submodule comes before its parent; and the result of
        `run`.
    """
    calls: list[Call] = []

    def recorder(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, _, output: calls.append(Call(name, module, output))

    handles = [module.register_forward_hook(recorder(name)) for name, module in network.named_modules() if name]
    network.eval()
    try:
        with torch.no_grad():
            return calls, run()
    finally:
        network.train()
        for handle in handles:
            handle.remove()


def remove_layers(network: nn.Module, calls: Iterable[Call]) -> None:
    """Replace every called module that has direct parameters by an identity."""
    for name, module, _ in calls:
        if next(module.parameters(recurse=False), None) is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, nn.Identity())


def to_grid(features: Tensor, num_prefix: int = 0) -> Tensor:
    """Reshape a feature map (I, F, H, W), or tokens (I, S, F) without the first `num_prefix`, to (I, R, F)."""
    if features.ndim == 4:
        return features.flatten(2).transpose(1, 2)
    return features[:, num_prefix:]


def mean_of(grid: Tensor) -> Tensor:
    """Average (I, R, F) over the regions to (I, F)."""
    return grid.mean(dim=1)
