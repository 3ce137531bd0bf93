"""Codes of n-grams: different for different n-grams, in the order of their contexts, and found again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captioning.decoders.ngrams import NONE, Ngrams, check_order, context_code, observed_ngrams
from captioning.errors import InputError

V = 5
CAPTIONS = st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=6), min_size=1, max_size=5)


def literal(captions: list[list[int]], n: int) -> set[tuple[int, ...]]:
    """The n-grams that end with any token but the first, filled up with NONE from the left."""
    return {
        tuple(([NONE] * n + ids)[at + 1 : at + n + 1])
        for ids in captions
        for at in range(1, len(ids))
    }  # fmt: skip


def code(ngram: tuple[int, ...]) -> int:
    value = 0
    for token in ngram[:-1]:
        value = value * (V + 1) + token + 1
    return value * V + ngram[-1]


@given(CAPTIONS)
def test_every_ngram_of_the_captions_is_observed_once_in_ascending_order(captions):
    found = observed_ngrams(captions, vocab_size=V, order=4)
    for n, codes in enumerate(found, 2):
        assert codes.tolist() == sorted(code(ngram) for ngram in literal(captions, n))


def test_many_captions_are_collected_in_parts(monkeypatch):
    captions = [[1, 2, 3, 4, 0], [1, 2], [1, 4, 4, 3], [1, 0, 2]]
    expected = observed_ngrams(captions, vocab_size=V, order=3)
    monkeypatch.setattr("captioning.decoders.ngrams._CHUNK", 3)
    for got, own in zip(observed_ngrams(captions, vocab_size=V, order=3), expected, strict=True):
        assert got.equal(own)


def test_different_contexts_have_different_codes():
    tokens = torch.arange(-1, V)
    contexts = torch.cartesian_prod(tokens, tokens, tokens)
    assert len(set(context_code(contexts, V).tolist())) == (V + 1) ** 3


@given(CAPTIONS)
def test_the_ngrams_after_a_context_are_found(captions):
    codes = observed_ngrams(captions, vocab_size=V, order=3)[1]
    if not len(codes):
        return
    ngrams = Ngrams(len(codes), V)
    ngrams.observe(codes)
    tokens = torch.arange(-1, V)
    contexts = torch.cartesian_prod(tokens, tokens)
    rows, words, places = ngrams.after(context_code(contexts, V))
    found = [(*contexts[row].tolist(), word) for row, word in zip(rows.tolist(), words.tolist(), strict=True)]
    assert sorted(found) == sorted(literal(captions, 3))
    assert [code(ngram) for ngram in found] == codes[places].tolist()


def test_the_difference_of_weights_is_zero_where_no_ngram_was_observed():
    ngrams = Ngrams(2, V)
    ngrams.observe(observed_ngrams([[1, 2, 4]], vocab_size=V, order=2)[0])  # 1 2 and 2 4
    with torch.no_grad():
        ngrams.plus.copy_(torch.tensor([3.0, 5.0]))
        ngrams.minus.copy_(torch.tensor([1.0, -1.0]))
    contexts = context_code(torch.tensor([[1], [2], [NONE]]), V)
    words = torch.tensor([[2, 4], [2, 4], [2, 4]])
    assert ngrams.difference(contexts, words).tolist() == [[2.0, 0.0], [0.0, 6.0], [0.0, 0.0]]


def test_before_anything_is_observed_nothing_is_found():
    ngrams = Ngrams(3, V)
    contexts = context_code(torch.arange(-1, V)[:, None], V)
    assert not len(ngrams.after(contexts)[0])
    assert not ngrams.difference(contexts, torch.arange(V).expand(V + 1, V)).any()


def test_codes_that_are_not_those_of_a_corpus_are_refused():
    ngrams = Ngrams(3, V)
    with pytest.raises(InputError, match="built for 3 n-grams of a length, found 2"):
        ngrams.observe(torch.tensor([1, 2]))
    for codes in ([1, 3, 2], [1, 2, 2]):
        with pytest.raises(InputError, match="not in ascending order"):
            ngrams.load_state_dict({**ngrams.state_dict(), "codes": torch.tensor(codes)})


@pytest.mark.parametrize(("order", "vocab_size"), [(0, 10), (4, 60_000), (20, 10)])
def test_an_order_whose_codes_do_not_fit_is_refused(order, vocab_size):
    with pytest.raises(InputError, match=f"order={order} must be at least 1"):
        check_order(order, vocab_size)
    check_order(4, 50_000)
