"""Weights over an image's places: a literal loop, masks, and rows that share a memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioning.decoders.attention import AdditiveAttention, places
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

I, R, F, D, A = 3, 5, 7, 11, 13  # noqa: E741 - the legend's letters


@pytest.fixture
def attention() -> AdditiveAttention:
    torch.manual_seed(0)
    return AdditiveAttention(nn.Linear(F, A), D, A).double()


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(I, R, F, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.tensor([[True] * 5, [True, True, False, False, False], [False, True, False, True, True]])


def test_weights_and_context_equal_a_literal_loop_with_gradients(attention, values, mask):
    image = torch.tensor([2, 0, 2, 1])
    query = torch.randn(4, D).double().requires_grad_()
    values.requires_grad_()
    memory = attention.memory(values, mask).rows(image)
    alpha = attention(query, memory)
    towards, along = torch.randn(4, R).double(), torch.randn(4, F).double()
    ours = (alpha * towards).sum() + (memory.mix(alpha) * along).sum()

    w_v, b, w_h, w = attention.key.weight, attention.key.bias, attention.from_query.weight, attention.score.weight[0]
    literal = 0.0
    for row, i in enumerate(image.tolist()):
        e = {r: w @ torch.tanh(w_v @ values[i, r] + b + w_h @ query[row]) for r in range(R) if mask[i, r]}
        total = sum(x.exp() for x in e.values())
        for r, x in e.items():
            literal = literal + x.exp() / total * (towards[row, r] + values[i, r] @ along[row])
    assert_close(ours, literal)
    wanted = [query, values, *attention.parameters()]
    assert_close(torch.autograd.grad(ours, wanted), torch.autograd.grad(literal, wanted))


def test_weights_sum_to_one_over_real_places_alone(attention, values, mask):
    memory = attention.memory(values, mask)
    alpha = attention(torch.randn(I, D).double(), memory)
    assert_close(alpha.sum(1), torch.ones(I).double())
    assert (alpha[~mask] == 0).all()
    assert (alpha[mask] > 0).all()


def test_rows_pick_indices_and_copy_no_place(attention, values):
    memory = attention.memory(values, None)
    picked = memory.rows(torch.tensor([2, 2, 0])).rows(torch.tensor([2, 0]))
    assert picked.image.tolist() == [0, 2]
    assert picked.values is memory.values
    assert picked.keys is memory.keys


def test_the_mean_is_of_real_places_alone(attention, values, mask):
    mean = attention.memory(values, mask).mean()
    assert_close(mean, torch.stack([v[m].mean(0) for v, m in zip(values, mask, strict=True)]))
    assert_close(attention.memory(values, None).mean(), values.mean(1))


def test_features_without_places_are_refused():
    with pytest.raises(InputError, match=r"encoder\.grid=true"):
        places(ImageFeatures(torch.zeros(2, 3)))


def test_weights_are_of_float32_where_autocast_computes_in_bfloat16(attention, values, mask):
    attention, values = attention.float(), values.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        alpha = attention(torch.randn(3, D), attention.memory(values, mask))
    assert alpha.dtype == torch.float32
    assert_close(alpha.sum(1), torch.ones(3))
