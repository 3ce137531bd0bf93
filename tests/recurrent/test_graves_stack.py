"""Equations (1) to (3) of Graves 2013, one row at a time, in float64, with (7) to (11) for H."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from torch.testing import assert_close

from captioning.decoders import InitInject, LanguageModel
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.recurrent import LSTM, GravesStack, MaxoutLSTM, PeepholeLSTM

THREE_OF_13 = partial(GravesStack, layer=PeepholeLSTM, num_layers=3)


@pytest.fixture
def inputs():
    random = torch.Generator().manual_seed(1)
    return pack_sequence([torch.randn(n, 17, generator=random) for n in (7, 5, 3, 2)])


def literal(weights, x, h, c):
    """Equations (1) and (2): what each layer reads is written as two matrices, one over x and one over h^{n-1}."""
    h_before, c_before = h.split(13), c.split(13)
    h_now, c_now = [], []
    for n in range(3):
        w = {key: weights[f"layers.{n}.{key}"] for key in ("w_x", "w_h", "w_c", "b")}
        total = w["w_x"][:, :17] @ x + w["w_h"] @ h_before[n] + w["b"]
        if n > 0:
            total = total + w["w_x"][:, 17:] @ h_now[n - 1]
        i, f, g, o = total.split(13)
        w_ci, w_cf, w_co = w["w_c"]
        i = torch.sigmoid(i + w_ci * c_before[n])  # (7)
        f = torch.sigmoid(f + w_cf * c_before[n])  # (8)
        c_now.append(f * c_before[n] + i * torch.tanh(g))  # (9)
        o = torch.sigmoid(o + w_co * c_now[n])  # (10)
        h_now.append(o * torch.tanh(c_now[n]))  # (11)
    return torch.cat(h_now), torch.cat(c_now)


def test_equals_the_papers_equations_with_gradients(assert_is_the_equations):
    assert_is_the_equations(THREE_OF_13(17, 39), literal)


def test_one_head_above_it_is_the_papers_sum_over_layers():
    torch.manual_seed(0)
    model = LanguageModel(
        feature_size=13, vocab_size=11, embedding_size=17, hidden_size=39, recurrent=THREE_OF_13
    ).double()
    tokens = torch.tensor([1, 4, 7])
    logits, after = model.step(tokens, model.start(ImageFeatures(torch.zeros(3, 13))))
    h, _ = after.recurrent
    w_hy = model.head.weight.split(13, dim=1)
    for row in range(3):
        h_n = h[row, 0].split(13)
        assert_close(logits[row], model.head.bias + sum(w @ own for w, own in zip(w_hy, h_n, strict=True)))  # (3)


def test_one_layer_is_the_layer_itself(inputs):
    stack = GravesStack(17, 19, layer=LSTM, num_layers=1)
    state = tuple(torch.randn(1, 4, 19) for _ in range(2))
    assert_close(stack(inputs, state), stack.layers[0](inputs, state), rtol=0, atol=0)


def test_every_layer_reads_the_input_and_reaches_the_output(inputs):
    torch.manual_seed(0)
    stack = THREE_OF_13(17, 39)
    with torch.no_grad():
        for layer in stack.layers:  # nothing comes from below, so only skip connections are left
            layer.w_x[:, 17:] = 0
    state = stack.initial(4, like=inputs.data)
    h, _ = stack(inputs, state)
    for n, layer in enumerate(stack.layers):
        alone = PeepholeLSTM(17, 13)
        alone.load_state_dict({**layer.state_dict(), "w_x": layer.w_x[:, :17]})
        expected, _ = alone(inputs, alone.initial(4, like=inputs.data))
        assert_close(h.data[:, 13 * n : 13 * (n + 1)], expected.data)


def test_layers_that_are_stacks_keep_their_states_apart():
    stack = GravesStack(17, 38, layer=partial(LSTM, num_layers=3), num_layers=2)
    assert stack.num_layers == 3
    assert [s.shape for s in stack.initial(5, like=torch.zeros(()))] == [(3, 5, 38)] * 2


def test_a_decoder_that_starts_from_its_image_starts_each_layer_from_a_share_of_it():
    sizes = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 39}
    model = InitInject(**sizes, recurrent=THREE_OF_13).eval()
    state = model.start(ImageFeatures(torch.randn(2, 13)))
    logits, _ = model.step(torch.tensor([1, 1]), state)
    assert (state.recurrent[0].shape, logits.shape) == ((2, 1, 39), (2, 11))


def test_the_number_of_parameters_is_the_sum_over_the_equations_matrices():
    # Three layers of H = 400 over E = 3 inputs: 4 (E H + H H + H) + 3 H for the lowest,
    # and the others read H inputs more.
    lowest = 4 * (3 * 400 + 400 * 400 + 400) + 3 * 400
    other = 4 * ((3 + 400) * 400 + 400 * 400 + 400) + 3 * 400
    count = sum(p.numel() for p in GravesStack(3, 1200, layer=PeepholeLSTM, num_layers=3).parameters())
    assert count == lowest + 2 * other == 3_222_800


@pytest.mark.parametrize(
    ("hidden_size", "num_layers", "message"),
    [
        (512, 3, "hidden_size=512 must be a multiple of num_layers=3 .* set hidden_size=513"),
        (2, 3, "hidden_size=2 must be a multiple of num_layers=3 .* set hidden_size=3"),
        (512, 0, "num_layers=0 must be at least 1"),
    ],
)
def test_a_width_that_cannot_be_shared_is_refused(hidden_size, num_layers, message):
    with pytest.raises(InputError, match=message):
        GravesStack(17, hidden_size, layer=MaxoutLSTM, num_layers=num_layers)
