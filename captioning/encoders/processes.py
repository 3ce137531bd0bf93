"""Sums over the processes that train one model together."""

from __future__ import annotations

from torch import Tensor, distributed


def several_processes() -> bool:
    """Return whether torch.distributed connects this process to others."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum a tensor over all processes, without a gradient. Every process must call it, with the same shape."""
    values = values.detach().clone()
    distributed.all_reduce(values)
    return values
