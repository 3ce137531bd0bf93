"""Finding and taking out parts of somebody else's network, by watching it run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captioning.encoders.transform import ImageTransform


class Call(NamedTuple):
    """One call of a module: its name in the network, itself, and what it returned."""

    name: str
    module: nn.Module
    output: Any


def example(transform: ImageTransform) -> Tensor:
    """One grey image (1, 3, H, W), to run a network once and see what it gives."""
    return torch.zeros(1, 3, *transform.size)


def record_calls(network: nn.Module, run: Callable[[], Any]) -> tuple[list[Call], Any]:
    """Run something of `network` without gradients, in evaluation mode.

    Returns:
        The calls of the modules inside, in the order in which they ended (a part stands before what contains
        it), and what `run` returned.
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
    """Put an identity in the place of every called module that holds parameters of its own."""
    for name, module, _ in calls:
        if next(module.parameters(recurse=False), None) is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, nn.Identity())


def to_grid(features: Tensor, num_prefix: int = 0) -> Tensor:
    """Lay a map (I, F, H, W), or tokens (I, S, F) of which `num_prefix` are no place, out as (I, R, F)."""
    if features.ndim == 4:
        return features.flatten(2).transpose(1, 2)
    return features[:, num_prefix:]


def mean_of(grid: Tensor) -> Tensor:
    """Pool (I, R, F) to (I, F)."""
    return grid.mean(dim=1)
