"""The objective that also detects words on the picture."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from captioning.decoders import MRNN
from captioning.errors import InputError
from captioning.objectives import CaptionAndWords, CrossEntropy


def build(features, **settings):
    torch.manual_seed(0)
    size = features.pooled.shape[1]
    decoder = MRNN(feature_size=size, vocab_size=11).eval()
    return decoder, CaptionAndWords(feature_size=size, vocab_size=11, **settings)


@pytest.mark.parametrize("masked", [True, False])
def test_it_adds_the_cross_entropy_of_each_word_s_presence_over_places_and_on_the_whole(
    batch, features, masked
) -> None:
    features = features if masked else replace(features, mask=None)
    decoder, objective = build(features, weight=0.3, bias=-0.7)
    logits = objective.places(features.grid).detach().double()
    whole = objective.whole(features.pooled).detach().double()
    expected = 0.0
    for row in range(len(features)):
        present = {
            int(token)
            for n, image in enumerate(batch.image_index.tolist())
            if image == row
            for token in batch.tokens[n, 1 : 1 + int(batch.lengths[n])]
        }
        for word in range(11):
            absent = 1.0
            for place in range(features.grid.shape[1]):
                if features.mask is None or features.mask[row, place]:
                    absent *= 1 - 1 / (1 + math.exp(-float(logits[row, place, word])))
            expected -= math.log(1 - absent if word in present else absent) / len(features)
            q = 1 / (1 + math.exp(-float(whole[row, word])))
            expected -= math.log(q if word in present else 1 - q) / len(features)
    captions = CrossEntropy()(decoder, features, batch)
    assert objective(decoder, features, batch).item() == pytest.approx(captions.item() + 0.3 * expected, abs=1e-5)


def test_its_gradient_reaches_the_grid_even_of_words_it_is_sure_are_absent(batch, features) -> None:
    decoder, objective = build(features, bias=-60.0)
    grid = features.grid.clone().requires_grad_()
    objective(decoder, replace(features, grid=grid), batch).backward()
    assert grid.grad is not None and grid.grad.isfinite().all() and grid.grad[0].norm() > 0.01
    assert (grid.grad[2, 1] == 0).all()  # no real place
    assert objective.places.weight.grad is not None


def test_it_stays_finite_where_probabilities_underflow(batch, features) -> None:
    for bias in (-200.0, 200.0):
        decoder, objective = build(features, bias=bias)
        loss = objective(decoder, features, batch)
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad.isfinite().all() for p in objective.parameters())


def test_detectors_start_where_most_places_show_no_word(features) -> None:
    _, objective = build(features)
    assert (objective.places.bias.sigmoid() < 0.01).all()


def test_it_says_that_it_needs_a_grid(batch, features) -> None:
    decoder, objective = build(features)
    with pytest.raises(InputError, match=r"encoder\.grid=true"):
        objective(decoder, replace(features, grid=None), batch)


def test_its_gradient_reaches_the_pooled_feature_without_the_captions(batch, features) -> None:
    decoder, objective = build(features)
    pooled = features.pooled.clone().requires_grad_()
    given = replace(features, pooled=pooled)
    (objective(decoder, given, batch) - objective.captions(decoder, given, batch)).backward()
    assert pooled.grad is not None and pooled.grad.norm() > 0.01
