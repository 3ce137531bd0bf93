"""The products of a floor are those that torch computes, and every path computes the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from captioning.benchmarks import floor
from captioning.benchmarks.floor import Product, fastest, merged, paths, recorded
from captioning.benchmarks.search import CASES, SEARCHES, SPECIAL, Case, Sizes, build
from captioning.onednn import linear

SMALL = Sizes(vocabulary=41, width=7, features=13, regions=5, steps=3)


def shapes(products: list[Product]) -> list[Product]:
    """Remove the addresses of the weights."""
    return [replace(product, weight=0) for product in products]


def test_products_are_recorded_with_their_shapes() -> None:
    x, w, b = torch.randn(3, 7), torch.randn(5, 7), torch.randn(5)
    batch = torch.randn(2, 3, 7), torch.randn(2, 7, 11)
    found = recorded(lambda: (F.linear(x, w, b), torch.bmm(*batch), x @ x.t(), linear(x, w)))
    assert shapes(found) == [Product(3, 7, 5), Product(3, 7, 11, batch=2), Product(3, 7, 3), Product(3, 7, 5)]
    assert [p.multiplications for p in found] == [105, 462, 63, 105]


def test_products_with_one_weight_in_a_row_are_one_product_and_weights_are_told_apart() -> None:
    x, w, other = torch.randn(3, 7), torch.randn(5, 7), torch.randn(5, 7)
    each = recorded(lambda: (F.linear(x, w), F.linear(x[:2], w), F.linear(x, other), F.linear(x, w)))
    assert [product.rows for product in each] == [3, 2, 3, 3]
    found = merged(each)
    assert shapes(found) == [Product(5, 7, 5), Product(3, 7, 5), Product(3, 7, 5)]
    assert found[0].weight == found[2].weight != found[1].weight


def test_a_weighted_sum_of_an_image_s_regions_is_a_product_for_each_image() -> None:
    values, weights = torch.randn(2 * 5, 7), torch.rand(6, 5)
    regions = torch.arange(2).repeat_interleave(3)[:, None] * 5 + torch.arange(5)
    with torch.no_grad():
        found = recorded(lambda: F.embedding_bag(regions, values, per_sample_weights=weights, mode="sum"))
    assert shapes(found) == [Product(3, 5, 7, batch=2)]


def test_rows_that_the_images_do_not_share_evenly_are_rounded_up() -> None:
    values, weights = torch.randn(2 * 5, 7), torch.rand(3, 5)
    regions = torch.tensor([0, 0, 1])[:, None] * 5 + torch.arange(5)
    with torch.no_grad():
        found = recorded(lambda: F.embedding_bag(regions, values, per_sample_weights=weights, mode="sum"))
        one = recorded(lambda: F.embedding_bag(regions[:1], values, per_sample_weights=weights[:1], mode="sum"))
    assert shapes(found + one) == [Product(2, 5, 7, batch=2), Product(1, 5, 7, batch=1)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.decoder} {case.search} {case.images} {case.dtype}")
def test_the_products_of_a_search_are_those_that_torch_counts(case: Case) -> None:
    case = replace(case, images=3)
    decoder, features = build(case, SMALL, torch.float32)
    search = SEARCHES[case.search](case.beam_size, SMALL.steps)

    def run() -> Any:
        return search(decoder, features, SPECIAL)

    found = recorded(run)
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    # torch does not count weighted sums of regions, which are the only products of batches.
    assert sum(p.multiplications for p in found if not p.batch) == counter.get_total_flops() // 2
    sums = [p for p in found if p.batch]
    if case.decoder == "soft_attention":
        assert [(p.batch, p.inputs, p.outputs) for p in sums] == SMALL.steps * [(3, 5, 13)]
        assert [p.rows for p in sums] == [1, 5, 5]
    else:
        assert not sums


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_all_paths_compute_the_same_product(dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    x, w = torch.randn(*batch, 3, 7).to(dtype), torch.randn(*batch, 5, 7).to(dtype)
    found = paths(x, w)
    assert {"as stored", "transposed"} <= found.keys()
    for run in found.values():
        with torch.inference_mode():
            assert_close(run(), x @ w.mT, rtol=0.02, atol=0.02)


def test_the_floor_takes_the_fastest_path_of_each_product_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    now, ran = [0.0], list[str]()

    def slow(x: torch.Tensor, weight: torch.Tensor) -> dict[str, Any]:
        def run(name: str, duration: float) -> None:
            now[0] += duration
            ran.append(f"{name} {len(x)}")

        return {"a": lambda: run("a", len(x)), "b": lambda: run("b", 3)}

    monkeypatch.setattr(floor, "paths", slow)
    monkeypatch.setattr(floor, "seconds", lambda run: (-now[0], run(), now[0])[0] + now[0])
    run = fastest([Product(2, 7, 5), Product(4, 7, 5), Product(2, 7, 5)], torch.float32)
    ran.clear()
    run()
    assert ran == ["a 2", "b 4", "a 2"]
