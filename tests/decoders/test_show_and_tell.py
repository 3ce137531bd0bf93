"""Show and Tell's equations, one word at a time, in float64."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.decoders import ShowAndTell
from captioning.recurrent import LSTM, ShowAndTellLSTM

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_equals_the_papers_equations_with_gradients(features, batch):
    torch.manual_seed(0)
    model = ShowAndTell(**SIZES, recurrent=ShowAndTellLSTM).double()
    for weight in model.parameters():
        torch.nn.init.uniform_(weight, -0.7, 0.7)
    features = type(features)(features.pooled.double())
    names = ["image.weight", "embedding.weight", "recurrent.w_x", "recurrent.w_m", "head.weight"]
    ours = dict(model.named_parameters())
    assert set(ours) == set(names)
    literal = [ours[name].detach().clone().requires_grad_() for name in names]
    w_image, w_e, w_x, w_m, softmax = literal

    def lstm(x, m, c):
        (ix, fx, ox, cx), (im, fm, om, cm) = w_x.split(19), w_m.split(19)
        i, f, o = (torch.sigmoid(a @ x + b @ m) for a, b in ((ix, im), (fx, fm), (ox, om)))  # (4), (5), (6)
        c = f * c + i * torch.tanh(cx @ x + cm @ m)  # (7)
        return o * c, c  # (8)

    expected = []
    for row, length in enumerate(batch.lengths.tolist()):
        zero = torch.zeros(19).double()
        m, c = lstm(w_image @ features.pooled[batch.image_index[row]], zero, zero)  # (10), its output dropped
        for token in batch.tokens[row, :length].tolist():
            m, c = lstm(w_e[token], m, c)  # (11), (12)
            expected.append(softmax @ m)
    packed = batch.inputs()
    logits = model(features, packed, batch.image_index)
    got = torch.cat(unpack_sequence(packed._replace(data=logits)))
    assert_close(got, torch.stack(expected))

    towards = torch.randn_like(got)
    (got * towards).sum().backward()
    (torch.stack(expected) * towards).sum().backward()
    for name, weight in zip(names, literal, strict=True):
        assert_close(ours[name].grad, weight.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_parameter_count_of_the_paper():
    # F E + V E + 4 (E + H) H + H V, at F = 2048, V = 2539, E = H = 512; no biases.
    model = ShowAndTell(feature_size=2048, vocab_size=2539, recurrent=ShowAndTellLSTM)
    assert count(model) == 2048 * 512 + 2539 * 512 + 4 * (512 + 512) * 512 + 512 * 2539 == 5_745_664


def test_parameter_count_of_im2txt():
    # im2txt has 15,447,776: F E + V E + 4 ((E + H) H + H) + H V + V at F = 2048, V = 12,000. torch's LSTM
    # holds each bias twice (of W x and of U h, which are only added): 4 H = 2,048 more for the same model.
    model = ShowAndTell(feature_size=2048, vocab_size=12_000, recurrent=LSTM, head_bias=True)
    assert count(model) - 4 * 512 == 15_447_776


def test_weights_start_in_the_range_asked_for():
    torch.manual_seed(0)
    model = ShowAndTell(**SIZES, recurrent=LSTM, head_bias=True, init_range=0.02)
    for weight in (model.image.weight, model.embedding.weight, model.head.weight):
        assert 0.015 < weight.abs().max() <= 0.02
    assert not model.head.bias.any()


def test_dropout_acts_in_training_alone(features, batch):
    torch.manual_seed(0)
    for dropout in ({"dropout": 0.5}, {"image_dropout": 0.5}):
        model = ShowAndTell(**SIZES, recurrent=LSTM, **dropout)
        for training in (True, False):
            model.train(training)
            once, again = (model(features, batch.inputs(), batch.image_index) for _ in range(2))
            assert once.equal(again) != training
