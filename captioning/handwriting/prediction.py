"""The prediction network: it writes what looks like letters, of no given text.

Source: Graves 2013 (arXiv:1308.0850), sections 2 and 4. The layers are `captioning.recurrent.graves_stack`, equations
1 to 3, and the outputs `captioning.handwriting.mixture`:

    Pr(x) = Π_t Pr(x_{t+1} | y_t)                (5)

Differs: torch's LSTM has no peepholes; `layer=PeepholeLSTM` is the paper's cell. The paper has 3 layers of 400.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captioning.handwriting.batch import StrokeBatch
from captioning.handwriting.mixture import Mixture, output_size
from captioning.recurrent import LSTM, GravesStack
from captioning.recurrent.layer import Hidden, RecurrentFactory


@dataclass(frozen=True)
class PredictionState:
    """The state of B rows.

    Attributes:
        recurrent: of the stack, (L, B, D) each.
        finished: (B) bool; always False, because no text says where a line ends.
    """

    recurrent: Hidden
    finished: Tensor


class Prediction(nn.Module):
    """Predicts the next point from all points before it.

    Args:
        layer: builds a layer from its input size and hidden size.
        hidden_size: the width of each layer.
        num_layers: the number of layers.
        num_mixtures: M, the number of Gaussians.
    """

    def __init__(
        self,
        *,
        layer: RecurrentFactory = LSTM,
        hidden_size: int = 400,
        num_layers: int = 3,
        num_mixtures: int = 20,
    ) -> None:
        super().__init__()
        width = hidden_size * num_layers
        self.recurrent = GravesStack(3, width, layer=layer, num_layers=num_layers)
        self.head = nn.Linear(width, output_size(num_mixtures))

    def forward(self, batch: StrokeBatch) -> Mixture:
        """Predict every point of a batch, in the order of `batch.targets.data`."""
        outputs, _ = self.recurrent(batch.inputs)
        return Mixture.of(self.head(outputs.data))

    def start(self, num_lines: int) -> PredictionState:
        """Return the state before the first point of `num_lines` lines."""
        like = self.head.weight
        state = self.recurrent.initial(num_lines, like=like)
        return PredictionState(state, torch.zeros(num_lines, dtype=torch.bool, device=like.device))

    def step(self, points: Tensor, state: PredictionState) -> tuple[Mixture, PredictionState]:
        """Read points (B, 3), and predict the next ones."""
        output, recurrent = self.recurrent.step(points, state.recurrent)
        return Mixture.of(self.head(output)), PredictionState(recurrent, state.finished)
