"""Attention over an image's regions: a literal loop, masks, rows that share a memory, and the loop over time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from captioning.decoders.attention import AdditiveAttention, AttentionStep, normalise, regions, unrolled
from captioning.decoders.decoder import State
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


def test_weights_sum_to_one_over_real_regions(attention, values, mask):
    memory = attention.memory(values, mask)
    alpha = attention(torch.randn(I, D).double(), memory)
    assert_close(alpha.sum(1), torch.ones(I).double())
    assert (alpha[~mask] == 0).all()
    assert (alpha[mask] > 0).all()


def test_picking_rows_copies_no_region(attention, values):
    memory = attention.memory(values, None)
    picked = memory.rows(torch.tensor([2, 2, 0])).rows(torch.tensor([2, 0]))
    assert picked.image.tolist() == [0, 2]
    assert picked.values is memory.values
    assert picked.keys is memory.keys


def test_the_mean_is_over_real_regions(attention, values, mask):
    mean = attention.memory(values, mask).mean()
    assert_close(mean, torch.stack([v[m].mean(0) for v, m in zip(values, mask, strict=True)]))
    assert_close(attention.memory(values, None).mean(), values.mean(1))


@pytest.mark.parametrize("filling", [torch.nan, torch.inf, -torch.inf])
def test_regions_that_are_not_real_may_hold_anything(attention, values, mask, filling):
    query, towards = torch.randn(I, D).double(), torch.randn(I, F).double()
    found = []
    for padding in (0.0, filling):
        filled = values.masked_fill(~mask[..., None], padding).requires_grad_()
        memory = attention.memory(filled, mask)
        alpha = attention(query, memory)
        mixed = memory.mix(alpha)
        loss = ((mixed + memory.mean()) * towards).sum() + attention.energies(query, memory)[mask].sum()
        gradients = torch.autograd.grad(loss, [filled, *attention.parameters()])
        found.append([alpha, mixed, memory.mean(), *gradients])
    assert_close(found[1], found[0], rtol=0, atol=0)


def test_an_image_without_a_real_region_is_refused(attention, values, mask):
    mask[1] = False
    with pytest.raises(InputError, match=r"1 of 3 images have no real region \(the first is in row 1 of the batch\)"):
        attention.memory(values, mask)


def test_features_without_regions_are_refused():
    with pytest.raises(InputError, match=r"encoder\.grid=true"):
        regions(ImageFeatures(torch.zeros(2, 3)))


def test_weights_are_float32_under_autocast_to_bfloat16(attention, values, mask):
    attention, values = attention.float(), values.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        alpha = attention(torch.randn(3, D), attention.memory(values, mask))
    assert alpha.dtype == torch.float32
    assert_close(alpha.sum(1), torch.ones(3))


def test_energies_are_the_weights_before_the_softmax(attention, values, mask):
    memory, query = attention.memory(values, mask), torch.randn(I, D).double()
    energies = attention.energies(query, memory)
    assert (energies[~mask] == -torch.inf).all()
    assert_close(normalise(energies), attention(query, memory), rtol=0, atol=0)
    sentinel = torch.full((I, 1), 50.0).double()  # a further energy takes its share of the weight
    assert_close(normalise(torch.cat([energies, sentinel], 1))[:, -1], torch.ones(I).double())


@pytest.mark.parametrize("cached", [1, 2 * R * A, 2 * R * A + 1, 10**6])
def test_a_few_rows_at_a_time_give_the_weights_of_all_rows_at_once(attention, values, mask, monkeypatch, cached):
    memory = attention.memory(values, mask).rows(torch.tensor([2, 0, 0, 1, 2]))
    query = torch.randn(5, D).double()
    at_once = attention(query, memory)
    monkeypatch.setattr("captioning.decoders.attention._CACHED", cached)
    with torch.no_grad():
        assert_close(attention(query, memory), at_once, rtol=0, atol=1e-15)
    assert at_once.requires_grad


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float64, 1e-14), (torch.bfloat16, 0.0)])
def test_energies_without_gradients_are_those_of_training(attention, values, mask, dtype, error):
    """In bfloat16 to the bit, because the other formula for tanh would be coarser there."""
    attention = attention.to(dtype)
    memory, query = attention.memory(values.to(dtype), mask), 5 * torch.randn(I, D).to(dtype)
    expected = attention.energies(query, memory)
    with torch.no_grad():
        assert_close(attention.energies(query, memory), expected.detach(), rtol=0, atol=error)


@dataclass(frozen=True)
class Sum(State):
    total: Tensor


def test_unrolled_names_the_outputs_of_all_steps_and_drops_rows_that_have_ended():
    x, lengths, running = torch.randn(3, 4, 5), torch.tensor([4, 2, 1]), []

    def add(x, state):
        running.append(len(state.total))
        total = state.total + x
        return AttentionStep(total, -total[:, :2]), Sum(total)

    packed = pack_padded_sequence(x, lengths, batch_first=True)
    outputs = unrolled(add, packed, Sum(torch.zeros(3, 5)))
    assert running == [3, 2, 1, 1]
    for output, expected in ((outputs.hidden, x.cumsum(1)), (outputs.attention, -x.cumsum(1)[..., :2])):
        padded, _ = pad_packed_sequence(packed._replace(data=output), batch_first=True)
        for row, length in enumerate(lengths):
            assert_close(padded[row, :length], expected[row, :length])
