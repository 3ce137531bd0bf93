"""The synthesis network: it writes a given text.

Source: Graves 2013 (arXiv:1308.0850), section 5. H is a recurrent layer, and w_t `captioning.handwriting.window`:

    h^1_t = H(W_{i h^1} x_t + W_{h^1 h^1} h^1_{t-1} + W_{w h^1} w_{t-1} + b^1_h)                        (52)
    h^n_t = H(W_{i h^n} x_t + W_{h^{n-1} h^n} h^{n-1}_t + W_{h^n h^n} h^n_{t-1} + W_{w h^n} w_t + b^n_h)   (53)
    ŷ_t = b_y + Σ_n W_{h^n y} h^n_t                                                                     (17)
    Pr(x | c) = Π_t Pr(x_{t+1} | y_t)                                                                   (55)

Only the first layer has to wait for the window, so it is run step by step; those above it run over whole sequences.
A line ends as soon as φ(t, U + 1) > φ(t, u) for all u ≤ U (section 5.3).

Differs: torch's LSTM has no peepholes; `layer=PeepholeLSTM` is the paper's cell. The paper has 3 layers of 400.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from captioning.errors import InputError
from captioning.handwriting.batch import StrokeBatch, one_hot
from captioning.handwriting.mixture import Mixture, output_size
from captioning.handwriting.window import SoftWindow
from captioning.recurrent import LSTM
from captioning.recurrent.layer import Hidden, RecurrentFactory, RecurrentLayer, unroll


@dataclass(frozen=True)
class SynthesisState:
    """The state of B rows.

    Attributes:
        characters: c_1 to c_{U+1}, (B, U + 1, A).
        lengths: U of each row, (B).
        recurrent: the state of each layer, (1, B, D) each.
        window: w_t, (B, A).
        kappa: κ_t, (B, K).
        finished: (B) bool, whether the window has left the text.
    """

    characters: Tensor
    lengths: Tensor
    recurrent: tuple[Hidden, ...]
    window: Tensor
    kappa: Tensor
    finished: Tensor


class Synthesis(nn.Module):
    """Predicts the next point from all points before it and from the text.

    Args:
        alphabet: the characters that it can write.
        layer: builds a layer from its input size and hidden size.
        hidden_size: D, the width of each layer.
        num_layers: the number of layers.
        num_mixtures: M, the number of Gaussians of the outputs.
        num_gaussians: K, the number of Gaussians of the window.

    Raises:
        InputError: there is no layer, or a character is twice in the alphabet.
    """

    def __init__(
        self,
        alphabet: str,
        *,
        layer: RecurrentFactory = LSTM,
        hidden_size: int = 400,
        num_layers: int = 3,
        num_mixtures: int = 20,
        num_gaussians: int = 10,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise InputError(f"num_layers={num_layers} must be at least 1")
        if len(set(alphabet)) < len(alphabet):
            raise InputError("the alphabet has a character twice; each must be in it once")
        self.alphabet, self.hidden_size = alphabet, hidden_size
        below = [0, *[hidden_size] * (num_layers - 1)]
        self.layers = nn.ModuleList(cast(nn.Module, layer(3 + size + len(alphabet), hidden_size)) for size in below)
        self.window = SoftWindow(hidden_size, num_gaussians=num_gaussians)
        self.head = nn.Linear(num_layers * hidden_size, output_size(num_mixtures))

    @property
    def _recurrent(self) -> list[RecurrentLayer]:
        return cast(list[RecurrentLayer], list(self.layers))

    def forward(self, batch: StrokeBatch) -> Mixture:
        """Predict every point of a batch, in the order of `batch.targets.data`."""
        return self._read(batch)[0]

    def windows(self, batch: StrokeBatch) -> list[Tensor]:
        """Compute the window's weights φ for each line of a batch, (T, U) each."""
        _, phi = self._read(batch)
        padded, lengths = pad_packed_sequence(phi, batch_first=True)
        return [
            own[:length, : len(text)] for own, length, text in zip(padded, lengths.tolist(), batch.texts, strict=True)
        ]

    def _read(self, batch: StrokeBatch) -> tuple[Mixture, PackedSequence]:
        """Return the predictions, and φ at each point, packed (N, T, U + 1)."""
        inputs = batch.inputs
        characters = one_hot(batch.texts, self.alphabet).to(inputs.data)
        first = self._first(inputs, characters)
        h, w, phi = torch.split(first.data, [self.hidden_size, len(self.alphabet), characters.shape[1]], dim=1)
        outputs = [h]
        for layer in self._recurrent[1:]:
            above, _ = layer(inputs._replace(data=torch.cat([inputs.data, outputs[-1], w], dim=1)))  # (53)
            outputs.append(above.data)
        return Mixture.of(self.head(torch.cat(outputs, dim=1))), inputs._replace(data=phi)

    def _first(self, inputs: PackedSequence, characters: Tensor) -> PackedSequence:
        """Run the first layer with the window; return h^1_t, w_t and φ(t, ·) side by side, packed."""
        rows = characters if inputs.sorted_indices is None else characters[inputs.sorted_indices]

        def step(x: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
            w, kappa, *before = state
            h, after = self._recurrent[0].step(torch.cat([x, w], dim=1), tuple(s[None] for s in before))  # (52)
            w, phi, kappa = self.window(h, kappa, rows[: len(x)])
            return torch.cat([h, w, phi], dim=1), (w, kappa, *(s[0] for s in after))

        num = len(characters)
        recurrent = (s[0] for s in self._recurrent[0].initial(num, like=characters))
        state = (self._no_window(num), self.window.start(num, like=characters), *recurrent)
        outputs, _ = unroll(step, inputs, state)
        return outputs

    def _no_window(self, num_lines: int) -> Tensor:
        """Return w_0 = 0, (B, A)."""
        return self.head.weight.new_zeros(num_lines, len(self.alphabet))

    def start(self, texts: Sequence[str]) -> SynthesisState:
        """Return the state before the first point of lines with these texts.

        Raises:
            InputError: a text has a character that is not in the alphabet, or no character.
        """
        like = self.head.weight
        return SynthesisState(
            one_hot(texts, self.alphabet).to(like),
            torch.tensor([len(text) for text in texts], device=like.device),
            tuple(layer.initial(len(texts), like=like) for layer in self._recurrent),
            self._no_window(len(texts)),
            self.window.start(len(texts), like=like),
            torch.zeros(len(texts), dtype=torch.bool, device=like.device),
        )

    def step(self, points: Tensor, state: SynthesisState) -> tuple[Mixture, SynthesisState]:
        """Read points (B, 3), and predict the next ones."""
        h, first = self._recurrent[0].step(torch.cat([points, state.window], dim=1), state.recurrent[0])  # (52)
        w, phi, kappa = self.window(h, state.kappa, state.characters)
        outputs, recurrent = [h], [first]
        for layer, before in zip(self._recurrent[1:], state.recurrent[1:], strict=True):
            h, after = layer.step(torch.cat([points, h, w], dim=1), before)  # (53)
            outputs.append(h)
            recurrent.append(after)
        mixture = Mixture.of(self.head(torch.cat(outputs, dim=1)))  # (17)
        finished = state.finished | _has_left(phi, state.lengths)
        return mixture, SynthesisState(state.characters, state.lengths, tuple(recurrent), w, kappa, finished)


def _has_left(phi: Tensor, lengths: Tensor) -> Tensor:
    """Return whether φ(t, U + 1) > φ(t, u) for all u ≤ U; φ is (B, longest U + 1)."""
    end = phi.gather(1, lengths[:, None])
    real = torch.arange(phi.shape[1], device=phi.device) < lengths[:, None]
    return ((end > phi) | ~real).all(1)
