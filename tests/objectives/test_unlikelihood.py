"""Unlikelihood: a loop over the words that each caption already has."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.errors import InputError
from captioning.objectives import CrossEntropy, Unlikelihood
from captioning.objectives.unlikelihood import repeated_words


def loop(decoder: Any, features: Any, batch: Any, weight: float) -> torch.Tensor:
    log_probs = decoder(features, batch.inputs(), batch.image_index).double().log_softmax(1)
    total, position = torch.zeros((), dtype=torch.float64), 0
    for t, size in enumerate(batch.inputs().batch_sizes.tolist()):
        for row in range(size):
            target = int(batch.tokens[row, t + 1])
            candidates = set(batch.tokens[row, 1 : t + 1].tolist()) - {target}
            total = total - log_probs[position, target]
            for c in candidates:
                total = total - weight * (1 - log_probs[position, c].exp()).clamp_min(1e-5).log()
            position += 1
    return total / position


@pytest.fixture
def repeating() -> Any:
    """Captions that say words again: of the tokens 4 to 10, with <bos> 1 and <eos> 2."""
    captions = [[[1, 4, 5, 4, 6, 4, 5, 2], [1, 7, 7, 2]], [[1, 8, 2]], [[1, 9, 9, 9, 10, 9, 2], [1, 2]]]
    return collate(("a", "b", "c"), captions, pad=0)


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_loss_equals_a_loop(one_decoder: Any, features: Any, repeating: Any, weight: float) -> None:
    found = Unlikelihood(weight=weight)(one_decoder, features, repeating)
    assert_close(found.double(), loop(one_decoder, features, repeating, weight), rtol=1e-5, atol=1e-5)


def test_without_weight_it_is_cross_entropy(one_decoder: Any, features: Any, repeating: Any) -> None:
    found = Unlikelihood(weight=0, label_smoothing=0.1)(one_decoder, features, repeating)
    assert_close(found, CrossEntropy(label_smoothing=0.1)(one_decoder, features, repeating))


def test_a_word_counts_once_and_never_where_it_is_the_target(repeating: Any) -> None:
    batch = collate(("a",), [[[1, 4, 5, 4, 6, 4, 2]]], pad=0)
    position, word = (x.tolist() for x in repeated_words(batch))
    assert sorted(zip(position, word, strict=True)) == [(1, 4), (2, 5), (3, 4), (3, 5), (4, 5), (4, 6), (5, 4), (5, 5),
                                                         (5, 6)]  # fmt: skip


def test_a_certain_repetition_costs_much_but_not_infinitely_much() -> None:
    class Certain(torch.nn.Module):
        def forward(self, features: Any, inputs: Any, image_index: Any) -> torch.Tensor:
            logits = torch.zeros(len(inputs.data), 11)
            logits[:, 4] = 1000.0
            return logits.requires_grad_()

    batch = collate(("a",), [[[1, 4, 4, 5]]], pad=0)
    loss = Unlikelihood(weight=1.0)(Certain(), None, batch)  # type: ignore[arg-type]
    assert_close(float(loss.detach()), (1000 - math.log(1e-5)) / 3, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("settings", "message"), [({"weight": -1}, "weight=-1"), ({"label_smoothing": 2}, "label_s")])
def test_settings_out_of_range_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Unlikelihood(**settings)
