"""Init-inject's equations, one word at a time, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from captioning.decoders import InitInject
from captioning.recurrent import LSTM, ChoGRU

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}
GRU = partial(ChoGRU, bias=True)


def test_equals_the_papers_equations_with_gradients(assert_is_the_equations, gru):
    def literal(w, image, tokens):
        h = w["image.linear.weight"] @ (image / image.norm()) + w["image.linear.bias"]
        logits = []
        for token in tokens:
            h = gru(w, w["embedding.weight"][token], h)
            logits.append(w["head.weight"] @ h + w["head.bias"])
        return logits

    assert_is_the_equations(InitInject(**SIZES, recurrent=GRU), literal)


def test_the_image_is_every_layer_s_first_h_and_no_cell(features):
    model = InitInject(**SIZES, recurrent=partial(LSTM, num_layers=2))
    h, c = model.start(features).recurrent
    i = model.image.linear(normalize(features.pooled))
    assert_close(h, torch.stack([i, i], 1))
    assert c.shape == h.shape
    assert not c.any()


@pytest.mark.parametrize(("vocab_size", "expected"), [(2539, 6_274_539), (7415, 11_272_439), (8792, 12_683_864)])
def test_parameter_count_of_the_paper(vocab_size, expected):
    # F P + P + V E + 3 ((E + H) H + H) + H V + V at F = 4096, E = H = P = 512: Flickr8k, Flickr30k, COCO.
    model = InitInject(feature_size=4096, vocab_size=vocab_size, recurrent=GRU)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("dropout", ["image_dropout", "embedding_dropout", "dropout"])
def test_dropout_acts_only_in_training(acts_only_in_training, dropout):
    assert acts_only_in_training(InitInject(**SIZES, recurrent=GRU, **{dropout: 0.5}))
    assert not acts_only_in_training(InitInject(**SIZES, recurrent=GRU))
