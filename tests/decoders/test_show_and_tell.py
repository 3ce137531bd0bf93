"""Show and Tell's equations, one word at a time, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from captioning.decoders import ShowAndTell
from captioning.recurrent import LSTM, ShowAndTellLSTM

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_equals_the_papers_equations_with_gradients(assert_is_the_equations):
    def literal(w, image, tokens):
        w_x, w_m = w["recurrent.w_x"].split(19), w["recurrent.w_m"].split(19)

        def lstm(x, m, c):
            i, f, o = (torch.sigmoid(w_x[gate] @ x + w_m[gate] @ m) for gate in range(3))  # (4), (5), (6)
            c = f * c + i * torch.tanh(w_x[3] @ x + w_m[3] @ m)  # (7)
            return o * c, c  # (8)

        zero = torch.zeros(19).double()
        m, c = lstm(w["image.weight"] @ image, zero, zero)  # (10), its output not used
        logits = []
        for token in tokens:
            m, c = lstm(w["embedding.weight"][token], m, c)  # (11), (12)
            logits.append(w["head.weight"] @ m)
        return logits

    assert_is_the_equations(ShowAndTell(**SIZES, recurrent=ShowAndTellLSTM), literal)


def test_equals_neuraltalk_s_lstm_with_gradients(assert_is_the_equations):
    def literal(w, image, tokens):
        # The official code's one matrix over [1, x, h].
        wlstm = torch.cat([w["recurrent.b"][:, None], w["recurrent.w_x"], w["recurrent.w_m"]], 1)
        one, h, c = torch.ones(1).double(), torch.zeros(19).double(), torch.zeros(19).double()
        rows = [w["image.weight"] @ image + w["image.bias"], *w["embedding.weight"][tokens]]
        logits = []
        for x in rows:
            i, f, o, g = (wlstm @ torch.cat([one, x, h])).split(19)
            c = torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(f) * c
            h = torch.sigmoid(o) * c
            logits.append(w["head.weight"] @ h + w["head.bias"])
        return logits[1:]  # without the image's

    layer = partial(ShowAndTellLSTM, bias=True)
    assert_is_the_equations(ShowAndTell(**SIZES, recurrent=layer, image_bias=True, head_bias=True), literal)


def test_parameter_count_of_the_paper():
    # F E + V E + 4 (E + H) H + H V, at F = 2048, V = 2539, E = H = 512; no biases.
    model = ShowAndTell(feature_size=2048, vocab_size=2539, recurrent=ShowAndTellLSTM)
    assert count(model) == 2048 * 512 + 2539 * 512 + 4 * (512 + 512) * 512 + 512 * 2539 == 5_745_664


def test_parameter_count_of_im2txt():
    # im2txt has 15,447,776: F E + V E + 4 ((E + H) H + H) + H V + V at F = 2048, V = 12,000. torch's LSTM
    # holds each bias twice (of W x and of U h, which are only added): 4 H = 2,048 more for the same model.
    model = ShowAndTell(feature_size=2048, vocab_size=12_000, recurrent=LSTM, head_bias=True)
    assert count(model) - 4 * 512 == 15_447_776


def test_parameter_count_of_neuraltalk_s_lstm():
    # F E + E + (K+1) E + 4 H (E + H + 1) + (H + 1)(K + 1), K = 2538 words and the one symbol START or END.
    sizes = {"feature_size": 4096, "vocab_size": 2538 + 1, "embedding_size": 256, "hidden_size": 256}
    layer = partial(ShowAndTellLSTM, bias=True)
    assert count(ShowAndTell(**sizes, recurrent=layer, image_bias=True, head_bias=True)) == 2_876_651


def test_weights_are_initialised_in_the_given_range():
    torch.manual_seed(0)
    model = ShowAndTell(**SIZES, recurrent=LSTM, image_bias=True, head_bias=True, init_range=0.02)
    for weight in (model.image.weight, model.embedding.weight, model.head.weight):
        assert 0.015 < weight.abs().max() <= 0.02
    assert not model.image.bias.any()
    assert not model.head.bias.any()


@pytest.mark.parametrize("dropout", ["dropout", "image_dropout"])
def test_dropout_acts_only_in_training(acts_only_in_training, dropout):
    assert acts_only_in_training(ShowAndTell(**SIZES, recurrent=LSTM, **{dropout: 0.5}))
    assert not acts_only_in_training(ShowAndTell(**SIZES, recurrent=LSTM))
