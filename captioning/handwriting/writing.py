"""Write lines with a trained network, by drawing one point after another."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from captioning.errors import InputError
from captioning.handwriting.mixture import Mixture


class WritingState(Protocol):
    """What writing reads of a network's state."""

    @property
    def finished(self) -> Tensor:
        """(B) bool, whether each row's line has ended."""
        ...


S = TypeVar("S", bound=WritingState)


class Writer(Protocol[S]):
    """A network that predicts the next point."""

    def step(self, points: Tensor, state: S) -> tuple[Mixture, S]:
        """Read points (B, 3), and predict the next ones."""
        ...


@torch.no_grad()
def write(network: Writer[Any], state: WritingState, *, bias: float = 0.0, max_points: int, seed: int) -> list[Tensor]:
    """Write a line for each row of a state.

    Args:
        network: in evaluation mode.
        state: from the network's `start`.
        bias: b; a larger one gives neater and less diverse lines.
        max_points: after so many points a line ends in any case.
        seed: of the draws.

    Returns:
        The points of each line, (T, 3) each.

    Raises:
        InputError: `bias` is negative, or `max_points` is below 1.
    """
    if max_points < 1:
        raise InputError(f"max_points={max_points} must be at least 1")
    num, generator = len(state.finished), torch.Generator().manual_seed(seed)
    x, drawn, lengths = torch.zeros(num, 3), [], torch.full((num,), max_points)
    for t in range(max_points):
        mixture, state = network.step(x, state)
        lengths = torch.where(state.finished & (lengths > t), t, lengths)
        if state.finished.all():
            break
        x = mixture.biased(bias).sample(generator)
        drawn.append(x)
    lines = torch.stack(drawn, dim=1) if drawn else torch.zeros(num, 0, 3)
    return [line[:length] for line, length in zip(lines, lengths.tolist(), strict=True)]
