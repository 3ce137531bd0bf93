"""The best assignment of words to regions against all assignments, and the runs of words with one region."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose

from captioning.errors import InputError
from captioning.matchers import Embedded
from captioning.matchers.alignment import Snippet, affinities, align, energy, snippets

SCORES = st.one_of(st.floats(-5, 5, width=16), st.integers(-2, 2).map(float))
TABLES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5), elements=SCORES)


@given(TABLES, st.sampled_from([0.0, 0.25, 1.0, 3.0, 100.0]))
def test_no_assignment_is_better(psi, beta):
    words, regions = psi.shape
    best = max(energy(psi, a, beta=beta) for a in product(range(regions), repeat=words))
    assert_allclose(energy(psi, align(psi, beta=beta), beta=beta), best, rtol=0, atol=1e-9)


@given(TABLES)
def test_with_beta_zero_each_word_takes_its_own_best_region(psi):
    assert_allclose([psi[j, i] for j, i in enumerate(align(psi, beta=0.0))], psi.max(1))


@given(TABLES)
def test_with_a_large_beta_the_sentence_has_the_region_that_fits_all_words_best(psi):
    a = align(psi, beta=1e6)
    assert len(set(a)) == 1
    assert_allclose(psi[:, a[0]].sum(), psi.sum(0).max(), rtol=0, atol=1e-9)


def test_energy_adds_what_fits_and_beta_for_each_pair_of_equal_neighbours():
    psi = np.array([[1.0, 20.0], [300.0, 4000.0], [5.0, 6.0]])
    assert energy(psi, [0, 1, 1], beta=0.5) == 1 + 4000 + 6 + 0.5
    assert energy(psi, [1, 1, 1], beta=0.5) == 20 + 4000 + 6 + 1
    assert energy(psi, [], beta=0.5) == 0


def test_beta_decides_whether_a_word_keeps_its_neighbours_region():
    psi = np.array([[3.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    assert align(psi, beta=0.4) == [0, 1, 0]
    assert align(psi, beta=0.6) == [0, 0, 0]  # leaving region 0 and coming back costs 2 beta, and gains 1


def test_a_sentence_without_words_has_no_assignment():
    assert align(np.zeros((0, 3)), beta=1.0) == []


def test_time_grows_with_words_times_regions():
    psi = np.random.default_rng(0).normal(size=(400, 3000))  # a table of pairs would have 3.6e9 entries
    assert len(align(psi, beta=1.0)) == 400


@pytest.mark.parametrize("beta", [-0.1, np.inf, np.nan])
def test_a_beta_that_is_no_affinity_is_refused(beta):
    with pytest.raises(InputError, match=r"beta=.* must be a finite number of at least 0"):
        align(np.zeros((2, 3)), beta=beta)


@pytest.mark.parametrize("psi", [np.full((2, 3), np.nan), np.full((2, 3), -np.inf), np.zeros((2, 0)), np.zeros(3)])
def test_a_word_without_a_region_is_refused(psi):
    with pytest.raises(InputError, match=r"expected scores \(words, regions\), a finite one for each word"):
        align(psi, beta=1.0)


def test_affinities_are_the_products_of_real_words_with_regions():
    random = torch.Generator().manual_seed(0)
    v, s = torch.randn(1, 3, 5, generator=random), torch.randn(1, 4, 5, generator=random)
    mask = torch.tensor([[True, True, False, False]])
    psi = affinities(Embedded(v), Embedded(s, mask))
    expected = [[sum(a * b for a, b in zip(x, y, strict=True)) for x in v[0].tolist()] for y in s[0, :2].tolist()]
    assert psi.dtype == np.float64
    assert_allclose(psi, expected, atol=1e-12)
    assert_allclose(affinities(Embedded(v), Embedded(s))[:2], expected, atol=1e-12)


@given(TABLES, st.floats(0, 10))
def test_padding_among_regions_is_never_chosen(psi, beta):
    v = torch.cat([torch.eye(psi.shape[1]).double(), torch.full((2, psi.shape[1]), 1e6).double()])
    mask = torch.tensor([[True] * psi.shape[1] + [False] * 2])
    padded = affinities(Embedded(v[None], mask), Embedded(torch.from_numpy(psi)[None]))
    assert align(padded, beta=beta) == align(psi, beta=beta)


@given(st.lists(st.integers(0, 2), max_size=9))
def test_snippets_are_the_longest_runs_in_order(a):
    found = snippets(a)
    assert [s.region for s in found for _ in range(s.begin, s.end)] == a
    assert all(one.region != other.region and one.end == other.begin for one, other in zip(found, found[1:]))  # noqa: B905, RUF007


def test_snippets_of_a_sentence():
    assert snippets([4, 4, 0, 4]) == [Snippet(4, 0, 2), Snippet(0, 2, 3), Snippet(4, 3, 4)]
    assert snippets([]) == []
