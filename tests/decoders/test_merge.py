"""Merge's equations, one word at a time, in float64."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from captioning.decoders import Merge
from captioning.recurrent import LSTM, ChoGRU

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19, "image_size": 23}
GRU = partial(ChoGRU, bias=True)


@pytest.mark.parametrize("learned", [True, False])
def test_equals_the_papers_equations_with_gradients(assert_is_the_equations, gru, learned):
    def literal(w, image, tokens):
        i = w["image.linear.weight"] @ (image / image.norm()) + w["image.linear.bias"]
        h = w["first.learned.0"][0, 0] if learned else torch.zeros(19).double()
        logits = []
        for token in tokens:
            h = gru(w, w["embedding.weight"][token], h)
            logits.append(w["head.weight"] @ torch.cat([i, h]) + w["head.bias"])
        return logits

    assert_is_the_equations(Merge(**SIZES, recurrent=GRU, learned_start=learned), literal)


def test_the_recurrent_state_does_not_depend_on_the_image(features):
    model = Merge(**SIZES, recurrent=GRU)
    state, other = (model.start(replace(features, pooled=pooled)) for pooled in (features.pooled, -features.pooled))
    for token in (1, 4, 5):
        logits, state = model.step(torch.full((3,), token), state)
        other_logits, other = model.step(torch.full((3,), token), other)
        assert state.recurrent[0].equal(other.recurrent[0])
        assert not logits.allclose(other_logits)


@pytest.mark.parametrize(("vocab_size", "expected"), [(2539, 1_600_747), (7415, 3_478_007), (8792, 4_008_152)])
def test_parameter_count_of_where(vocab_size, expected):
    # F P + P + V E + 3 ((E + H) H + H) + H + (H + P) V + V at F = 4096, E = H = P = 128: Flickr8k, Flickr30k, COCO.
    model = Merge(feature_size=4096, vocab_size=vocab_size, recurrent=GRU)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize(("s", "expected"), [(128, 1_633_515), (256, 3_526_635), (512, 8_099_307)])
def test_parameter_count_of_role(s, expected):
    # F s + s + V s + 4 (2 s s + s) + 2 s V + V; torch's LSTM has each bias twice: 4 s more for the same model.
    sizes = {"embedding_size": s, "hidden_size": s, "image_size": s, "learned_start": False}
    model = Merge(feature_size=4096, vocab_size=2539, recurrent=LSTM, **sizes)
    assert sum(p.numel() for p in model.parameters()) - 4 * s == expected


@pytest.mark.parametrize("dropout", ["image_dropout", "embedding_dropout", "dropout"])
def test_dropout_acts_only_in_training(acts_only_in_training, dropout):
    assert acts_only_in_training(Merge(**SIZES, recurrent=GRU, **{dropout: 0.5}))
    assert not acts_only_in_training(Merge(**SIZES, recurrent=GRU))
