"""Batch normalisation over the images of all processes.

torch.nn.SyncBatchNorm does the same on GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from captioning.encoders.processes import several_processes, sum_over_processes

CONVERTED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SyncedBatchNorm(nn.Module):
    """Normalise each channel by mean and variance over the images of all processes.

    Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithm 1, with torch's moving averages. The parameters, the
    buffers and their names are those of the layer that it replaces.

    Args:
        norm: the layer to replace.

    Attributes:
        counts: whether this process's images count. They do not if they only repeat another process's.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        assert norm.momentum is not None
        self.counts = True
        self.eps, self.momentum = norm.eps, norm.momentum
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (I, C, ..)."""
        if not self.training or not several_processes():
            if self.training:
                self.num_batches_tracked += 1
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
            )
        over = [d for d in range(x.dim()) if d != 1]
        shape = [-1 if d == 1 else 1 for d in range(x.dim())]
        own = torch.tensor(self.counts * x.numel() / x.shape[1], dtype=torch.float64, device=x.device)
        count = sum_over_processes(own).item()
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _Sum.apply(self.counts * wide.sum(over)) / count
        centred = wide - mean.view(shape)
        variance = _Sum.apply(self.counts * centred.square().sum(over)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var), self.momentum)
            self.num_batches_tracked += 1
        y: Tensor = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)


class _Sum(torch.autograd.Function):
    """Sum over processes; every process's loss depends on every process's summand, so gradients are summed too."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        return sum_over_processes(values)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        return sum_over_processes(gradients[0])


def count_images(module: nn.Module, counts: bool) -> None:
    """Set whether this process's next images count in every `SyncedBatchNorm` of a module."""
    for norm in module.modules():
        if isinstance(norm, SyncedBatchNorm):
            norm.counts = counts


def synchronise(module: nn.Module) -> int:
    """Replace a module's batch normalisations by `SyncedBatchNorm`, which share their parameters and buffers.

    Returns:
        The number of layers that stay as they are, because they are of other classes or have no moving averages.
    """
    others = 0
    for name, child in module.named_children():
        if not isinstance(child, _BatchNorm):
            others += synchronise(child)
        elif type(child) in CONVERTED and child.track_running_stats and child.momentum is not None:
            setattr(module, name, SyncedBatchNorm(child))
        elif not isinstance(child, nn.SyncBatchNorm):
            others += 1
    return others
