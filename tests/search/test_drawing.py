"""Words drawn by the inverse of the cumulative distribution function, and the words that filters keep."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torch.testing import assert_close

from captioning.search.drawing import Kept, inverse_cdf, largest

V = 1009  # so large that words are selected and summed in groups
FILTERS = (
    Kept(), Kept(top_k=7), Kept(top_k=500), Kept(top_p=0.3), Kept(top_p=0.9), Kept(top_p=0.999), Kept(min_p=0.05),
    Kept(typical_p=0.2), Kept(typical_p=0.9), Kept(top_k=50, top_p=0.8), Kept(top_k=50, min_p=0.3),
    Kept(top_k=50, typical_p=0.6),
)  # fmt: skip


def some_log_probs(num_rows: int, width: int, seed: int, spread: float = 3.0) -> Tensor:
    return (spread * torch.randn(num_rows, width, generator=torch.Generator().manual_seed(seed))).log_softmax(1)


def grid(num: int) -> Tensor:
    """Numbers of which the first are spread evenly over [0, 1), so chance decides only on further draws."""
    numbers = torch.rand(num, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    numbers[:, 0] = (torch.arange(num) + 0.5) / num
    return numbers


def until(share: float, p: list[float], keys: list[float]) -> set[int]:
    """The words for which those of larger keys have less than a share."""
    return {w for w in range(len(p)) if math.fsum(q for q, key in zip(p, keys, strict=True) if key > keys[w]) < share}


def definition(kept: Kept, log_probs: Tensor) -> dict[int, float]:
    """The probability of each word that a filter keeps, in float64."""
    words = [w for w, x in enumerate(log_probs.tolist()) if x > -math.inf]
    words = sorted(words, key=lambda w: -log_probs[w].item())[: kept.top_k or len(words)]
    p = torch.tensor([log_probs[w].double().item() for w in words], dtype=torch.float64).softmax(0).tolist()
    left = set(range(len(words)))
    if kept.top_p is not None:
        left = until(kept.top_p, p, p)
    if kept.min_p is not None:
        left = {w for w in left if p[w] >= kept.min_p * max(p)}
    if kept.typical_p is not None:
        entropy = -math.fsum(q * math.log(q) for q in p)
        left = until(kept.typical_p, p, [-abs(entropy + math.log(q)) for q in p])
    total = math.fsum(p[w] for w in left)
    return {words[w]: p[w] / total for w in left}


@pytest.mark.parametrize("kept", FILTERS, ids=str)
@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_the_words_and_their_frequencies_are_those_of_the_definition(kept: Kept, spread: float) -> None:
    num = 5_000
    row = some_log_probs(1, V, seed=3, spread=spread)[0].index_fill(0, torch.tensor([0, 5, V - 1]), -torch.inf)
    expected = definition(kept, row)
    drawn = kept.draw(row.expand(num, -1).contiguous(), grid(num))
    counts = torch.bincount(drawn, minlength=V)
    assert set(counts.nonzero()[:, 0].tolist()) <= set(expected)
    kinds = torch.tensor([expected.get(w, 0.0) * num for w in range(V)], dtype=torch.float64)
    often = kinds >= 5
    observed = [*counts[often].tolist(), counts[~often].sum().item()]
    frequencies = [*kinds[often].tolist(), kinds[~often].sum().item()]
    filled = [i for i, n in enumerate(frequencies) if n > 0]
    assert len(filled) == 1 or chisquare([observed[i] for i in filled], [frequencies[i] for i in filled]).pvalue > 0.01


def test_random_numbers_draw_words_as_often_as_they_are_probable() -> None:
    num = 30_000
    row = some_log_probs(1, 97, seed=1, spread=1.0)
    uniform = torch.rand(num, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for kept in (Kept(), Kept(top_p=0.5), Kept(typical_p=0.5)):  # what is left of one number serves further draws
        expected = definition(kept, row[0])
        counts = torch.bincount(kept.draw(row.expand(num, -1).contiguous(), uniform), minlength=97)
        observed = [counts[w].item() for w in expected]
        assert sum(observed) == num
        assert chisquare(observed, [p * num for p in expected.values()]).pvalue > 0.01


@given(st.lists(st.sampled_from([-math.inf, -4.0, -2.0, -1.0, -1.0, 0.0]), min_size=1, max_size=9), st.data())
def test_a_drawn_word_is_one_of_the_definition_whatever_ties_there_are(log_probs: list[float], data: st.DataObject):
    share = data.draw(st.sampled_from([0.1, 0.37, 0.71, 0.93]))
    kept = data.draw(st.sampled_from([Kept(), Kept(top_p=share), Kept(min_p=share), Kept(typical_p=share)]))
    row = torch.tensor([log_probs])
    drawn = kept.draw(row.expand(50, -1).contiguous(), grid(50)).tolist()
    expected = definition(kept, row[0]) if max(log_probs) > -math.inf else {0: 1.0}
    assert set(drawn) <= set(expected)
    assert {w for w, p in expected.items() if p > 0.05} <= set(drawn)


@pytest.mark.parametrize("kept", FILTERS, ids=str)
def test_rows_do_not_depend_on_each_other(kept: Kept) -> None:
    rows = torch.cat([some_log_probs(3, V, seed=5, spread=s) for s in (0.1, 1.0, 5.0)])
    uniform = torch.rand(9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    together = kept.draw(rows, uniform)
    alone = [kept.draw(rows[i : i + 1], uniform[i : i + 1]).item() for i in range(9)]
    assert together.tolist() == alone


@pytest.mark.parametrize("kept", FILTERS, ids=str)
@pytest.mark.parametrize("width", [1, 2, 255, 256, V])
def test_where_all_words_but_one_are_forbidden_that_one_is_drawn(kept: Kept, width: int) -> None:
    words = torch.tensor(sorted({0, width // 2, width - 1}))
    rows = torch.full((len(words), width), -torch.inf).scatter(1, words[:, None], -50.0)
    for u in (0.0, 0.3, 1 - 2**-53):
        uniform = torch.full((len(words), 1), u, dtype=torch.float64)
        assert kept.draw(rows, uniform).tolist() == words.tolist()


@pytest.mark.parametrize("kept", FILTERS, ids=str)
def test_a_row_without_words_gets_any_word_and_no_nan(kept: Kept) -> None:
    rows = torch.full((3, V), -torch.inf)
    assert kept.draw(rows, torch.tensor([[0.0], [0.5], [1 - 2**-53]], dtype=torch.float64)).lt(V).all()


@pytest.mark.parametrize("width", [7, 300, V])
def test_at_both_ends_of_the_function_no_word_of_probability_0_is_drawn(width: int) -> None:
    random = torch.Generator().manual_seed(1)
    weights = torch.rand(500, width, generator=random)
    weights *= torch.rand(500, width, generator=random) < 0.1
    weights[:, 3] = 1e-30  # so that each row has one
    weights[:, :3], weights[:, -2:] = 0.0, 0.0
    for u in (0.0, 1 - 2**-53, 1.0):
        drawn, rest = inverse_cdf(weights, torch.full((500,), u, dtype=torch.float64))
        assert weights.gather(1, drawn[:, None]).gt(0).all()
        assert rest.ge(0).all()
        assert rest.le(1).all()


def test_float32_sums_change_a_draw_hardly_ever() -> None:
    weights = some_log_probs(2000, 9487, seed=7).exp()
    uniform = torch.rand(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    cdf = weights.double().cumsum(1)
    exact = torch.searchsorted(cdf, uniform[:, None] * cdf[:, -1:], right=True)[:, 0]
    assert (inverse_cdf(weights, uniform)[0] != exact).sum() <= 1


@pytest.mark.parametrize("width", [7, V])
def test_the_rest_of_a_number_is_uniform_and_tells_nothing_of_the_word(width: int) -> None:
    num = 50_000
    weights = some_log_probs(1, width, seed=7, spread=1.0).exp().expand(num, -1).contiguous()
    uniform = torch.rand(num, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    drawn, rest = inverse_cdf(weights, uniform)
    likely = drawn == drawn.mode().values
    for some in (rest[likely], rest[~likely]):
        assert chisquare(torch.histc(some, 20, 0, 1).tolist()).pvalue > 0.01


@given(st.integers(1, 3), st.integers(1, 700), st.data())
def test_the_largest_are_those_of_topk(num_rows: int, width: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, width))
    x = torch.randint(-99, 99, (num_rows, width), generator=torch.Generator().manual_seed(width)).float()
    best, found = largest(x, k)
    assert_close(best, x.topk(k, dim=1).values, rtol=0, atol=0)
    assert_close(x.gather(1, found), best, rtol=0, atol=0)
    assert all(len(row.unique()) == k for row in found)
