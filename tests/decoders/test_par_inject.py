"""Par-inject's equations, one word at a time, in float64."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from captioning.decoders import ParInject
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
            h = gru(w, torch.cat([i, w["embedding.weight"][token]]), h)
            logits.append(w["head.weight"] @ h + w["head.bias"])
        return logits

    assert_is_the_equations(ParInject(**SIZES, recurrent=GRU, learned_start=learned), literal)


def test_the_image_is_read_at_every_step(features):
    model = ParInject(**SIZES, recurrent=GRU)
    start = model.start(features)
    assert start.recurrent[0][0].equal(start.recurrent[0][1])  # h_0 does not depend on the image
    logits, state = model.step(torch.tensor([1, 1, 1]), start)
    other = replace(start, image=start.image.roll(1, 0))
    assert not model.step(torch.tensor([1, 1, 1]), other)[0].allclose(logits)
    logits, _ = model.step(torch.tensor([4, 4, 4]), state)
    other = replace(state, image=state.image.roll(1, 0))
    assert not model.step(torch.tensor([4, 4, 4]), other)[0].allclose(logits)


@pytest.mark.parametrize(("vocab_size", "expected"), [(2539, 2_942_187), (7415, 5_443_575), (8792, 6_149_976)])
def test_parameter_count_of_where(vocab_size, expected):
    # F P + P + V E + 3 ((E + P + H) H + H) + H + H V + V at F = 4096, E = H = P = 256: Flickr8k, Flickr30k, COCO.
    model = ParInject(feature_size=4096, vocab_size=vocab_size, recurrent=GRU)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize(("s", "expected"), [(128, 1_374_059), (256, 3_138_795), (512, 7_847_915)])
def test_parameter_count_of_role(s, expected):
    # F s + s + V s + 4 (3 s s + s) + s V + V; torch's LSTM has each bias twice: 4 s more for the same model.
    sizes = {"embedding_size": s, "hidden_size": s, "image_size": s, "learned_start": False}
    model = ParInject(feature_size=4096, vocab_size=2539, recurrent=LSTM, **sizes)
    assert sum(p.numel() for p in model.parameters()) - 4 * s == expected


@pytest.mark.parametrize("dropout", ["image_dropout", "embedding_dropout", "dropout"])
def test_dropout_acts_only_in_training(acts_only_in_training, dropout):
    assert acts_only_in_training(ParInject(**SIZES, recurrent=GRU, **{dropout: 0.5}))
    assert not acts_only_in_training(ParInject(**SIZES, recurrent=GRU))
