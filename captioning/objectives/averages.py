"""The means that a loss consists of, and their weights when several processes share a batch.

Strategies such as DDP average the processes' gradients. A process's own mean over n of all N tokens therefore counts
W n / N times, where W is the number of processes. Then the average over processes is the mean over all N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from captioning.data.batch import CaptionBatch
from captioning.encoders.features import ImageFeatures
from captioning.encoders.processes import several_processes, sum_over_processes


@dataclass(frozen=True)
class Mean:
    """A part of a loss: a mean over the tokens, captions, images or grid cells of a batch.

    Attributes:
        value: the mean times its weight in the loss, a scalar.
        count: how many things are averaged.
    """

    value: Tensor
    count: int


def loss_means(objective: Any, head: nn.Module, features: ImageFeatures, batch: CaptionBatch) -> Sequence[Mean]:
    """Compute the means whose sum is an objective's loss.

    An objective without a method `means` is taken to be a mean over the batch's tokens.
    """
    if hasattr(objective, "means"):
        found: Sequence[Mean] = objective.means(head, features, batch)
        return found
    return [Mean(objective(head, features, batch), int(batch.lengths.sum()))]


def total(means: Sequence[Mean]) -> Tensor:
    """Add means."""
    loss = means[0].value
    for mean in means[1:]:
        loss = loss + mean.value
    return loss


def loss_of_all(means: Sequence[Mean], batch: CaptionBatch) -> Tensor:
    """Add means, weighted so that their average over the processes is the loss of all processes' batches together.

    With one process this is `total`.

    Args:
        means: of this process's batch.
        batch: this process's batch; it counts for nothing if it only repeats images of another process.
    """
    if not several_processes():
        return total(means)
    own = torch.tensor([mean.count for mean in means], dtype=torch.float64, device=means[0].value.device)
    own = own * (not batch.repeated)
    weights = distributed.get_world_size() * own / sum_over_processes(own)
    return total(
        [Mean(mean.value * weight.to(mean.value.dtype), 0) for mean, weight in zip(means, weights, strict=True)]
    )


def mean_of_all(values: Tensor, batch: CaptionBatch) -> Tensor:
    """Average values without a gradient over all processes, one value per caption of each process's batch."""
    if not several_processes():
        return values.mean()
    own = torch.stack([values.double().sum(), torch.tensor(float(len(values))).to(values.device).double()])
    sums: Tensor = sum_over_processes(own * (not batch.repeated))
    return (sums[0] / sums[1]).to(values.dtype)
