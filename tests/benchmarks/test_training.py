"""Rows of `bench train`: a step is compared with its own products, and the Trainer with the same steps without it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from captioning.benchmarks.floor import Product
from captioning.benchmarks.training import (
    CASES,
    DECODERS,
    Batches,
    Case,
    Sizes,
    bare_step,
    batch_of,
    gradients,
    measure,
    module_of,
    trainer,
    training_products,
)
from captioning.seeds import seed_of

SMALL = Sizes(vocabulary=41, width=8, features=13, regions=5)


def small(decoder: str, dtype: str = "float32", captions_per_image: int = 5) -> Case:
    return Case(decoder=decoder, dtype=dtype, images=3, captions_per_image=captions_per_image, sizes=SMALL, repeat=2)


@pytest.mark.parametrize("name", list(DECODERS))
def test_the_products_of_a_step_are_those_that_torch_counts_in_a_forward_pass_and_two_more_of_each(name: str) -> None:
    case = small(name)
    decoder, batch = DECODERS[name][0](SMALL), batch_of(case)
    found = [p for p in training_products(decoder, batch) if not p.batch]  # torch does not count sums of regions
    onednn = {torch.ops.mkldnn._linear_pointwise: lambda x, w, *_, **__: 2 * x[0] * x[1] * w[0]}
    with FlopCounterMode(display=False, custom_mapping=onednn) as counter:
        decoder(batch.features, batch.inputs(), batch.image_index)
    assert sum(p.multiplications for p in found) == 3 * counter.get_total_flops() // 2


def test_the_gradient_of_a_weight_is_one_product_over_time_and_that_of_a_state_is_one_at_each_step() -> None:
    steps = [Product(7, 3, 5, 1), Product(2, 3, 5, 1), Product(2, 11, 13, 2, batch=4)]
    of_left, of_weight = (
        [Product(7, 5, 3, 1), Product(2, 5, 3, 1), Product(2, 13, 11, 2, batch=4)],
        [Product(3, 9, 5, 1)],
    )
    assert gradients(steps) == of_left + of_weight


@pytest.mark.parametrize("name", ["show_and_tell", "hard_attention"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_bare_loop_takes_the_trainer_s_steps(name: str, dtype: str, tmp_path: Path) -> None:
    case = small(name, dtype)
    decoder, objective, batch = DECODERS[name][0](SMALL), DECODERS[name][1](), batch_of(case)
    copied = deepcopy(decoder)
    trainer(case, tmp_path).fit(module_of(decoder, deepcopy(objective)), DataLoader([batch] * 3, batch_size=None))
    step = bare_step(copied, objective, batch, case)
    for number in range(3):
        torch.manual_seed(seed_of(0, number, 0))
        step()
    assert_close(list(copied.parameters()), list(decoder.parameters()), rtol=0.0, atol=0.0)


def test_rows_have_ratios_of_the_three_alternating_times(monkeypatch: pytest.MonkeyPatch) -> None:
    case = small("mrnn", dtype="bfloat16")
    batches = Batches(case, batch_of(case), DECODERS["mrnn"][0](SMALL), None)
    batches.times, batches.memory = [(4.0, 3.0, 2.0), (5.0, 5.0, 1.0), (10.0, 9.0, 5.0)], [5_000_000, 12_000_000]
    assert vars(batches.row()) == {
        "decoder": "mrnn",
        "dtype": "bfloat16",
        "images": 3,
        "captions": 15,
        "vocabulary": 41,
        "captions_per_second": 3.0,
        "floor_captions_per_second": 7.5,
        "ratio": 0.5,
        "spread": pytest.approx(0.15),
        "bare_ratio": 0.9,
        "bare_spread": pytest.approx(0.125),
        "peak_memory_mb": 7.0,
    }


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", list(DECODERS))
def test_every_decoder_is_measured(name: str, dtype: str) -> None:
    row = measure(small(name, dtype), torch.get_num_threads())
    assert (row.decoder, row.dtype, row.captions) == (name, dtype, 15)
    assert min(row.captions_per_second, row.floor_captions_per_second, row.ratio, row.bare_ratio) > 0


def test_cases_are_all_decoders_with_both_batches_in_both_precisions() -> None:
    assert {(c.decoder, c.dtype) for c in CASES} == {(d, t) for d in DECODERS for t in ("bfloat16", "float32")}
    assert {c.images * c.captions_per_image for c in CASES} == {320, 48, 80}


def test_captions_of_a_batch_are_as_long_as_flickr8k_s_and_similar_where_images_have_one() -> None:
    batch = batch_of(replace(small("mrnn"), images=100))
    assert (len(batch.lengths), batch.lengths.float().mean()) == (500, pytest.approx(11, abs=0.5))
    assert 4 <= batch.lengths.min() < batch.lengths.max() <= 25
    assert set(batch_of(small("mrnn", captions_per_image=1)).lengths.tolist()) == {11}
