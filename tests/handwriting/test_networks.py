"""Equations (1) to (3), (17), (52) and (53) of Graves 2013, one line and one point at a time, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.handwriting.batch import StrokeBatch, collate
from captioning.handwriting.font import Line
from captioning.handwriting.mixture import Mixture, output_size
from captioning.handwriting.prediction import Prediction
from captioning.handwriting.synthesis import Synthesis
from captioning.recurrent import GRU, LSTM, PeepholeLSTM

TEXTS, LENGTHS, D, M, K = ("ba", "abcab", "c"), (7, 11, 3), 13, 2, 5


@pytest.fixture
def batch() -> StrokeBatch:
    random = np.random.default_rng(0)
    sizes = zip(TEXTS, LENGTHS, strict=True)
    made = collate([Line(text, random.normal(size=(num, 3)).astype(np.float32), np.zeros(num)) for text, num in sizes])
    inputs, targets = (p._replace(data=p.data.double()) for p in (made.inputs, made.targets))
    return StrokeBatch(inputs, targets, made.texts)


def prediction(layer: Any = PeepholeLSTM) -> Prediction:
    torch.manual_seed(0)
    return Prediction(layer=layer, hidden_size=D, num_layers=2, num_mixtures=M).double()


def synthesis(layer: Any = PeepholeLSTM) -> Synthesis:
    torch.manual_seed(0)
    sizes = {"hidden_size": D, "num_layers": 3, "num_mixtures": M, "num_gaussians": K}
    return Synthesis("abc", layer=layer, **sizes).double()


def cell(layer: nn.Module, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Equations (7) to (11)."""
    w = dict(layer.named_parameters())
    i, f, g, o = (w["w_x"] @ x + w["w_h"] @ h + w["b"]).split(D)
    i, f = torch.sigmoid(i + w["w_c"][0] * c), torch.sigmoid(f + w["w_c"][1] * c)
    c = f * c + i * torch.tanh(g)
    return torch.sigmoid(o + w["w_c"][2] * c) * torch.tanh(c), c


def literal_prediction(network: Prediction, points: Tensor) -> Tensor:
    first, second = network.recurrent.layers
    zero = points.new_zeros(D)
    (h1, c1), (h2, c2), found = (zero, zero), (zero, zero), []
    for x in points:
        h1, c1 = cell(first, x, h1, c1)  # (1)
        h2, c2 = cell(second, torch.cat([x, h1]), h2, c2)  # (2)
        found.append(network.head.bias + network.head.weight @ torch.cat([h1, h2]))  # (3)
    return torch.stack(found)


def literal_synthesis(network: Synthesis, points: Tensor, text: str) -> tuple[Tensor, Tensor]:
    """Return ŷ and φ(t, u) for u ≤ U."""
    zero = points.new_zeros(D)
    h, c = [zero] * 3, [zero] * 3
    w, kappa, found, weights = points.new_zeros(3), points.new_zeros(K), [], []
    for x in points:
        h[0], c[0] = cell(network.layers[0], torch.cat([x, w]), h[0], c[0])  # (52)
        alpha, beta, moved = (network.window.linear.weight @ h[0] + network.window.linear.bias).exp().chunk(3)
        kappa = kappa + moved
        phi = torch.stack([(alpha * torch.exp(-beta * (kappa - u - 1) ** 2)).sum() for u in range(len(text))])
        w = points.new_zeros(3)
        for u, character in enumerate(text):
            w["abc".index(character)] += phi[u]
        for n in (1, 2):
            h[n], c[n] = cell(network.layers[n], torch.cat([x, h[n - 1], w]), h[n], c[n])  # (53)
        found.append(network.head.bias + network.head.weight @ torch.cat(h))  # (17)
        weights.append(phi)
    return torch.stack(found), torch.stack(weights)


def assert_same(found: Mixture, expected: Tensor) -> None:
    for one, other in zip(vars(found).values(), vars(Mixture.of(expected)).values(), strict=True):
        assert_close(one, other)


def packed_like(batch: StrokeBatch, rows: list[Tensor]) -> Tensor:
    return nn.utils.rnn.pack_sequence(rows, enforce_sorted=False).data


def test_prediction_equals_the_papers_equations(batch: StrokeBatch) -> None:
    network = prediction()
    expected = [literal_prediction(network, points) for points in unpack_sequence(batch.inputs)]
    assert_same(network(batch), packed_like(batch, expected))


def test_synthesis_equals_the_papers_equations_and_texts_of_a_batch_do_not_mix(batch: StrokeBatch) -> None:
    network = synthesis()
    lines = zip(unpack_sequence(batch.inputs), TEXTS, strict=True)
    expected = [literal_synthesis(network, points, text) for points, text in lines]
    assert_same(network(batch), packed_like(batch, [outputs for outputs, _ in expected]))
    for found, (_, phi) in zip(network.windows(batch), expected, strict=True):
        assert_close(found, phi)


@pytest.mark.parametrize("layer", [PeepholeLSTM, LSTM, GRU])
def test_single_steps_are_those_of_whole_lines(batch: StrokeBatch, layer: Any) -> None:
    for network, start in ((prediction(layer), 1), (synthesis(layer), TEXTS[1:2])):
        one = StrokeBatch(*(nn.utils.rnn.pack_sequence(unpack_sequence(p)[1:2]) for p in
                            (batch.inputs, batch.targets)), TEXTS[1:2])  # fmt: skip
        state, outputs = network.start(start), []
        for x in one.inputs.data:
            mixture, state = network.step(x[None], state)
            outputs.append(mixture)
        for name, value in vars(network(one)).items():
            assert_close(torch.cat([getattr(own, name) for own in outputs]), value)


def test_a_line_is_finished_when_the_window_has_left_its_own_text() -> None:
    network = synthesis()
    with torch.no_grad():  # one narrow Gaussian's width, one character at each point
        network.window.linear.weight.zero_()
        network.window.linear.bias.view(3, K)[:] = torch.tensor([[0.0], [2.0], [0.0]])
    state, ended = network.start(["a", "abc"]), []
    for _ in range(16):
        _, state = network.step(torch.zeros(2, 3, dtype=torch.float64), state)
        ended.append(state.finished.tolist())
    # κ = t; it is over character U + 1 at t = U + 1. At the end all weights are 0, and the lines stay finished.
    assert ended[:5] == [[False, False], [True, False], [True, False], [True, True], [True, True]]
    assert ended[-1] == [True, True]


def test_the_paper_s_networks_have_its_number_of_weights() -> None:
    def size(network: nn.Module) -> int:
        return sum(weight.numel() for weight in network.parameters())

    lstm = lambda inputs, width: 4 * width * (inputs + width + 1) + 3 * width  # noqa: E731
    predicted = lstm(3, 400) + 2 * lstm(403, 400) + 1201 * output_size(20)
    assert size(Prediction(layer=PeepholeLSTM)) == predicted  # 3.4 million in the paper
    written = lstm(60, 400) + 2 * lstm(460, 400) + 1201 * 121 + 401 * 30
    alphabet = "".join(map(chr, range(60, 117)))
    assert size(Synthesis(alphabet, layer=PeepholeLSTM)) == written  # 3.7 million in the paper
    assert (round(predicted / 1e6, 1), round(written / 1e6, 1)) == (3.4, 3.7)


def test_networks_that_are_not_possible_are_refused() -> None:
    with pytest.raises(InputError, match="num_layers=0"):
        Synthesis("ab", num_layers=0)
    with pytest.raises(InputError, match="twice"):
        Synthesis("aba")
