"""Train a handwriting network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from captioning.handwriting.batch import StrokeBatch
from captioning.handwriting.mixture import Mixture

log = logging.getLogger(__name__)


def loss_of(network: Callable[[StrokeBatch], Mixture], batch: StrokeBatch) -> Tensor:
    """Compute -log p of the batch's points, the mean over points, in nats: equation (26), divided by T."""
    return -network(batch).log_prob(batch.targets.data).mean()


def train(
    network: nn.Module,
    batches: Iterable[StrokeBatch],
    optimizer: Optimizer,
    *,
    schedule: Any = None,
    max_norm: float = 1.0,
) -> list[float]:
    """Take one step for each batch.

    Differs: the paper clips each derivative of the outputs to ±100 and of the LSTM to ±10. Here the gradient of all
    weights is clipped to a norm, as everywhere in this package.

    Args:
        network: a `Prediction` or a `Synthesis`.
        batches: what it learns from.
        optimizer: of its weights.
        schedule: a learning-rate schedule, which is stepped after each batch; None for a constant rate.
        max_norm: of the gradient.

    Returns:
        The loss of each batch before its step, in nats per point.
    """
    losses = []
    network.train()
    for batch in batches:
        loss = loss_of(network, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), max_norm)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        losses.append(loss.item())
        if len(losses) % 100 == 0:
            log.info("batch %d: %.3f nats a point", len(losses), sum(losses[-100:]) / 100)
    network.eval()
    return losses
