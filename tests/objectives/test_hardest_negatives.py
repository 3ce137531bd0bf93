"""The ranking loss of the hardest negatives; its rules as a loss of pairs are in test_pairs."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.matchers import SentenceVector
from captioning.objectives import HardestNegatives, MaxMargin
from captioning.objectives.max_margin import violations
from captioning.objectives.pairs import Pairs


def test_only_the_best_scoring_negative_of_each_direction_gets_a_gradient():
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    captions, images = violations(Pairs(scores, torch.eye(5, dtype=torch.bool), torch.arange(5)), 10.0)
    (captions.max(1).values + images.max(1).values).sum().backward()
    others = scores.detach().masked_fill(torch.eye(5, dtype=torch.bool), -torch.inf)
    expected = -2 * torch.eye(5, dtype=torch.float64)
    expected[torch.arange(5), others.argmax(1)] += 1
    expected[others.argmax(0), torch.arange(5)] += 1
    assert_close(scores.grad, expected)


def test_with_two_images_it_is_the_loss_of_all_negatives(features):
    # Each true pair then has one negative in each direction.

    torch.manual_seed(0)
    matcher = SentenceVector(feature_size=13, vocab_size=11, recurrent=None)
    two = features.rows(torch.tensor([0, 1]))
    batch = collate(("x", "y"), [[[1, 4, 8, 2]], [[1, 5, 2]]], pad=0, features=two)
    losses = [kind(eos=2, margin=0.9)(matcher, two, batch) for kind in (HardestNegatives, MaxMargin)]
    assert losses[0] > 0
    assert_close(*losses)
