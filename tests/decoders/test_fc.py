"""The FC model's equations, one word at a time, in float64."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from captioning.decoders import FC
from captioning.recurrent import MaxoutLSTM

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}


def literal(w, image, tokens):
    def lstm(x, h, c):
        pre = w["recurrent.w_x"] @ x + w["recurrent.w_h"] @ h + w["recurrent.b"]
        i, f, o = (torch.sigmoid(gate) for gate in pre[: 3 * 19].split(19))
        c = i * torch.maximum(*pre[3 * 19 :].split(19)) + f * c
        return o * torch.tanh(c), c

    zero = torch.zeros(19).double()
    h, c = lstm(w["image.weight"] @ image, zero, zero)  # x_1; s_1 is not scored
    logits = []
    for token in tokens:
        h, c = lstm(w["embedding.weight"][token], h, c)
        logits.append(w["head.weight"] @ h)
    return logits


def test_equals_the_papers_equations_with_gradients(assert_is_the_equations):
    assert_is_the_equations(FC(**SIZES, recurrent=MaxoutLSTM), literal)


def test_the_image_is_a_word_that_is_not_scored(features):
    # A first word whose embedding is the image's vector acts as the image.
    model = FC(**SIZES, recurrent=MaxoutLSTM).eval()
    with torch.no_grad():
        model.embedding.weight[9] = model.image(features.pooled[0])
    zeros = tuple(s.transpose(0, 1) for s in model.recurrent.initial(1, like=features.pooled))
    start = model.start(features.rows(torch.tensor([0])))
    _, said = model.step(torch.tensor([9]), type(start)(zeros))
    for ours, expected in zip(start.recurrent, said.recurrent, strict=True):
        assert_close(ours, expected)


def test_parameter_count_of_the_paper():
    # F E + V E + 5 ((E + H) H + H) + H V at F = 2048, V = 10,096, E = H = 512.
    model = FC(feature_size=2048, vocab_size=10_096, recurrent=MaxoutLSTM)
    assert sum(p.numel() for p in model.parameters()) == 14_010_880


def test_embeddings_and_head_are_initialised_in_the_given_range():
    torch.manual_seed(0)
    model = FC(**SIZES, recurrent=MaxoutLSTM, init_range=0.02)
    for weight in (model.embedding.weight, model.head.weight):
        assert 0.015 < weight.abs().max() <= 0.02


def test_dropout_acts_only_in_training(acts_only_in_training):
    assert acts_only_in_training(FC(**SIZES, recurrent=MaxoutLSTM, dropout=0.5))
    assert not acts_only_in_training(FC(**SIZES, recurrent=MaxoutLSTM))
