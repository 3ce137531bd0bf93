"""Equation 8 of Karpathy and Fei-Fei, pair by pair, and its computation in blocks."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from captioning.matchers import Embedded
from captioning.matchers.similarity import best_regions, per_word

REGIONS = [2, 5, 3]
WORDS = [4, 0, 7, 1, 7]


def embedded(lengths: list[int], width: int, seed: int) -> Embedded:
    """Rows of 13 channels; padding is so large that it would be every maximum, and sorts nowhere."""
    random = torch.Generator().manual_seed(seed)
    vectors = torch.randn(len(lengths), width, 13, generator=random, dtype=torch.float64)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    return Embedded(vectors.masked_fill(~mask[..., None], 1e6), mask)


def literal(images: Embedded, sentences: Embedded) -> torch.Tensor:
    rows = []
    for v, num_regions in zip(images.vectors, REGIONS, strict=True):
        row = []
        for s, num_words in zip(sentences.vectors, WORDS, strict=True):
            score = torch.zeros((), dtype=torch.float64)
            for t in range(num_words):
                score = score + torch.stack([(v[i] * s[t]).sum() for i in range(num_regions)]).max()
            row.append(score)
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.fixture
def images() -> Embedded:
    return embedded(REGIONS, 5, seed=1)


@pytest.fixture
def sentences() -> Embedded:
    return embedded(WORDS, 7, seed=2)


def test_each_word_takes_its_best_region(images, sentences):
    towards = torch.randn(3, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    results = []
    for score in (best_regions, literal):
        v, s = images.vectors.clone().requires_grad_(), sentences.vectors.clone().requires_grad_()
        scores = score(Embedded(v, images.mask), Embedded(s, sentences.mask))
        (scores * towards).sum().backward()
        results.append((scores, v.grad, s.grad))
    assert results[0][1].any()
    assert_close(*results)


@pytest.mark.parametrize("block", [1, 35, 36, 70, 105, 400, 10**9])
def test_blocks_change_nothing(images, sentences, block):
    assert_close(best_regions(images, sentences, block=block), literal(images, sentences))


def test_blocks_bound_the_products_in_memory(images, sentences, monkeypatch):
    sizes = []
    matmul = torch.Tensor.__matmul__

    def counted(a, b):
        sizes.append(len(a) * b.shape[1])
        return matmul(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", counted)
    for block in (35, 80, 200):
        sizes.clear()
        best_regions(images, sentences, block=block)
        assert max(sizes) <= block
    best_regions(images, sentences)
    assert sizes[-1] == 3 * 5 * sum(WORDS)  # padding among the words costs nothing


def test_autograd_keeps_no_products(images, sentences):
    kept = []
    v, s = images.vectors.requires_grad_(), sentences.vectors.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        best_regions(Embedded(v), Embedded(s))
    assert max(kept) < 3 * 5 * 5 * 7


def test_without_masks_everything_is_real(images, sentences):
    v, s = images.vectors.clamp(-9, 9), sentences.vectors.clamp(-9, 9)
    everything = [Embedded(x, torch.ones(x.shape[:2], dtype=torch.bool)) for x in (v, s)]
    assert_close(best_regions(Embedded(v), Embedded(s)), best_regions(*everything))


def test_of_single_vectors_it_is_their_product(images, sentences):
    v, s = images.vectors[:, :1], sentences.vectors[:, :1]
    assert_close(best_regions(Embedded(v), Embedded(s)), v[:, 0] @ s[:, 0].t())


def test_a_sentence_without_words_scores_zero(images, sentences):
    assert not best_regions(images, sentences)[:, 1].any()
    assert not per_word(best_regions(images, sentences), sentences)[:, 1].any()


def test_scores_of_bfloat16_are_added_in_float32(images, sentences):
    half = [Embedded(x.vectors.to(torch.bfloat16), x.mask) for x in (images, sentences)]
    assert best_regions(*half).dtype == torch.float32


def test_per_word_divides_by_the_number_of_words(images, sentences):
    scores = literal(images, sentences)
    expected = scores / torch.tensor([4, 1, 7, 1, 7])
    assert_close(per_word(scores, sentences), expected)
    assert_close(per_word(scores, Embedded(sentences.vectors)), scores / 7)
