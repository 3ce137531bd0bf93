"""The most probable tokens of a large vocabulary are found in blocks, and equal those of a search of all of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captioning.search.vocabulary import log_probabilities, most_probable, most_probable_one

WIDTH = 64


def test_log_probabilities_are_the_log_softmax_in_the_logits_own_memory():
    logits = torch.randn(3, 11)
    expected = logits.log_softmax(1)
    found = log_probabilities(logits)
    assert found.equal(expected)
    assert found.data_ptr() == logits.data_ptr()


def test_bfloat16_logits_are_normalised_in_float32_and_stay_as_they_were():
    logits = torch.randn(3, 11).bfloat16()
    before = logits.clone()
    assert log_probabilities(logits).equal(before.float().log_softmax(1))
    assert logits.equal(before)


@given(
    num_images=st.sampled_from([0, 1, 3]),
    width=st.integers(1, 4),
    count=st.integers(1, 5),
    num_blocks=st.integers(0, 23),
    rest=st.integers(0, WIDTH - 1),
    seed=st.integers(0, 10**6),
)
def test_the_most_probable_are_those_of_topk_over_all_prefixes(
    num_images: int, width: int, count: int, num_blocks: int, rest: int, seed: int
) -> None:
    num_tokens, random = max(1, num_blocks * WIDTH + rest), torch.Generator().manual_seed(seed)
    x = torch.randn(num_images * width, num_tokens, generator=random).double()  # no equal values
    before = torch.randn(num_images, width, generator=random).double()
    sums, places = most_probable(x, before, count)
    totals = (x.view(num_images, width, num_tokens) + before[:, :, None]).flatten(1)
    expected = totals.topk(min(count, width * num_tokens), dim=1)
    assert sums.equal(expected.values)
    assert places.equal(expected.indices)
    assert most_probable_one(x).equal(x.argmax(1))


@pytest.mark.parametrize("num_tokens", [5, 1283])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_most_probable_may_be_anywhere(num_tokens: int, rank: int) -> None:
    """Also in the last columns, which fill no block, and side by side in one block."""
    x = torch.arange(num_tokens).repeat(num_tokens, 1)
    x = (x - torch.arange(num_tokens)[:, None]) % num_tokens  # row i has its smallest value at token i
    _, tokens = most_probable(-x.float(), torch.zeros(num_tokens, 1), 3)
    assert tokens[:, rank].equal((torch.arange(num_tokens) + rank) % num_tokens)
    assert most_probable_one(-x.float()).equal(torch.arange(num_tokens))


@pytest.mark.parametrize("num_tokens", [5, 1283])
def test_forbidden_tokens_come_last_even_if_few_are_allowed(num_tokens: int) -> None:
    x = torch.full((6, num_tokens), -torch.inf)
    x[1, num_tokens - 1] = -1.0
    sums, places = most_probable(x, torch.tensor([[0.0, -2.0], [0.0, -torch.inf], [-torch.inf, 0.0]]), 3)
    assert (sums[0, 0], places[0, 0]) == (-3.0, num_tokens + num_tokens - 1)
    assert sums.flatten()[1:].eq(-torch.inf).all()
    for own in places.tolist():
        assert len(set(own)) == 3
        assert 0 <= min(own) <= max(own) < 2 * num_tokens


@given(values=st.lists(st.sampled_from([0.0, -1.0, -torch.inf]), min_size=1, max_size=5 * WIDTH))
def test_of_equal_values_the_first_token_is_taken(values: list[float]) -> None:
    x = torch.tensor([values])
    assert most_probable_one(x).tolist() == [values.index(max(values))]
