"""The ranking loss of Karpathy and Fei-Fei; its rules as a loss of pairs are in test_pairs."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.objectives import HardestNegatives, MaxMargin
from captioning.objectives.max_margin import violations
from captioning.objectives.pairs import Pairs


def test_with_one_caption_for_each_image_it_is_the_papers_equation_but_for_a_constant():
    scores = torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cost = 0.0
    for k in range(7):
        cost += sum(max(0, scores[k, j] - scores[k, k] + 1) for j in range(7))  # (9)
        cost += sum(max(0, scores[j, k] - scores[k, k] + 1) for j in range(7))
    captions, images = violations(Pairs(scores, torch.eye(7, dtype=torch.bool), torch.arange(7)), 1.0)
    assert_close(captions.sum() + images.sum(), cost - 7 * 2)  # l = k adds 1 + 1 for each k


def test_a_true_pair_that_leads_by_the_margin_costs_nothing():
    pairs = Pairs(torch.tensor([[0.5, 0.3], [0.1, 0.4]]), torch.eye(2, dtype=torch.bool), torch.arange(2))
    captions, images = violations(pairs, 0.2)
    assert_close(captions, torch.tensor([[0.0, 0.0], [0.0, 0.0]]), rtol=0, atol=1e-6)
    assert_close(images, torch.tensor([[0.0, 0.0], [0.1, 0.0]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [MaxMargin, HardestNegatives])
@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan")])
def test_a_margin_that_is_not_positive_is_refused(kind, margin):
    with pytest.raises(InputError, match=r"margin=.* must be positive"):
        kind(eos=2, margin=margin)
