"""Training mode and evaluation mode of modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode for a `with` block: no dropout, no sampling."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
