"""The most probable tokens of a large vocabulary are found in blocks, and equal those of a search of all of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captioning.search.vocabulary import log_probabilities, most_probable, most_probable_one

WIDTH, FEW = 64, 8


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
    num_rows=st.sampled_from([0, 1, FEW, FEW + 1, FEW + 3]),
    k=st.integers(1, 5),
    num_blocks=st.integers(0, 23),
    rest=st.integers(0, WIDTH - 1),
    seed=st.integers(0, 10**6),
)
def test_the_most_probable_are_those_of_topk(num_rows: int, k: int, num_blocks: int, rest: int, seed: int) -> None:
    num_tokens = max(1, num_blocks * WIDTH + rest)
    x = torch.randn(num_rows, num_tokens, generator=torch.Generator().manual_seed(seed)).double()  # no equal values
    values, tokens = most_probable(x, k)
    expected = x.topk(min(k, num_tokens), dim=1)
    assert values.equal(expected.values)
    assert tokens.equal(expected.indices)
    assert most_probable_one(x).equal(x.argmax(1))


@pytest.mark.parametrize("num_tokens", [5, 1283])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_most_probable_may_be_anywhere(num_tokens: int, rank: int) -> None:
    """Also in the last columns, which fill no block, and side by side in one block."""
    x = torch.arange(num_tokens).repeat(num_tokens, 1)
    x = (x - torch.arange(num_tokens)[:, None]) % num_tokens  # row i has its smallest value at token i
    assert most_probable(-x.float(), 3)[1][:, rank].equal((torch.arange(num_tokens) + rank) % num_tokens)
    assert most_probable_one(-x.float()).equal(torch.arange(num_tokens))


@pytest.mark.parametrize("num_tokens", [5, 1283])
def test_forbidden_tokens_come_last_even_if_few_are_allowed(num_tokens: int) -> None:
    x = torch.full((FEW + 1, num_tokens), -torch.inf)
    x[0, num_tokens - 1] = -1.0
    values, tokens = most_probable(x, 3)
    assert (values[0, 0], tokens[0, 0]) == (-1.0, num_tokens - 1)
    assert values.flatten()[1:].eq(-torch.inf).all()
    assert all(len(set(row)) == 3 for row in tokens.tolist())
    assert tokens.max() < num_tokens


@given(values=st.lists(st.sampled_from([0.0, -1.0, -torch.inf]), min_size=1, max_size=5 * WIDTH))
def test_of_equal_values_the_first_token_is_taken(values: list[float]) -> None:
    x = torch.tensor([values])
    assert most_probable_one(x).tolist() == [values.index(max(values))]
