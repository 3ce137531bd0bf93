"""The bare matrix products of a benchmark are exactly those of the model."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from captioning.benchmarks import speed as benchmarks
from captioning.benchmarks import timing
from captioning.benchmarks.floor import Product
from captioning.benchmarks.speed import (
    CELLS,
    STACKS,
    bench_training,
    decoders,
    training_products,
    with_gradients,
)
from captioning.commands import config_folder
from captioning.objectives import CrossEntropy

MODELS = list(decoders())


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "FEATURE_SIZE", 13)
    monkeypatch.setattr(benchmarks, "VOCAB_SIZE", 41)
    monkeypatch.setattr(benchmarks, "EMBEDDING", 7)
    monkeypatch.setattr(benchmarks, "HIDDEN", 5)
    monkeypatch.setattr(benchmarks, "MRNN_SIZES", (7, 5, 11))


def multiplications(products: list[Product]) -> int:
    return sum(product.multiplications for product in products)


def counted(run: object) -> int:
    """Count multiplications in matrix products with torch, which counts two operations each."""
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        run()  # type: ignore[operator]
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", ["show_and_tell lstm", "show_and_tell gru", "mrnn"])
def test_the_products_of_a_forward_pass_are_those_that_torch_counts(name: str) -> None:
    decoder = decoders()[name].eval()
    batch = benchmarks._batch(3)
    assert batch.features is not None
    found = counted(lambda: CrossEntropy()(decoder, batch.features, batch))
    # The layer that reads the image first also multiplies a state of zeros, which is not needed.
    zeros = 0 if name == "mrnn" else 3 * 5 * (3 if name.endswith("gru") else 4) * 5
    assert found == multiplications(training_products(decoder, batch)) + zeros


def test_gradients_need_two_more_products_of_each() -> None:
    assert with_gradients([Product(2, 3, 5)]) == [Product(2, 3, 5), Product(2, 5, 3), Product(3, 2, 5)]


def test_training_is_measured_alternately_with_its_products_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that advances by 1 second per call. A step reads it eight times, two of them outside; its products twice.
    ticks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr(benchmarks, "time", clock)
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(benchmarks, "fastest", lambda products, dtype: lambda: None)
    rows = bench_training(num_images=2, repeat=3)
    assert [row.name for row in rows] == [f"train {name}" for name in MODELS]
    for row in rows:
        assert (row.seconds, row.floor_seconds, row.spread) == (7, 1, 0)
        assert row.ratio == pytest.approx(1 / 7)
        assert row.where == {"forward": 1, "backward": 1, "optimizer": 1}


def test_cells_are_measured_alternately_with_the_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that advances by 1, 2, 3, .. seconds per call, so that successive measurements take 2, 4, 6, .. seconds.
    # The LSTM is measured first: 2, 6, 10, and its cell 4, 8, 12.
    ticks = itertools.accumulate(itertools.count(1))
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    first = benchmarks.bench_recurrent(batch_size=3, length=2, repeat=3)[0]
    assert (first.cell, first.lstm_seconds, first.seconds) == ("lstm", 6, 8)
    assert first.ratio == pytest.approx(8 / 6)
    assert first.spread == pytest.approx(((2 + 8 / 6) - (8 / 6 + 12 / 10)) / 2)


def test_every_cell_of_the_package_is_measured() -> None:
    files = {path.stem: yaml.safe_load(path.read_text()) for path in config_folder().glob("recurrent/*.yaml")}
    for name in STACKS:
        del files[name]
    assert {name: content["_target_"] for name, content in files.items()} == {
        name: f"captioning.recurrent.{cell.__name__}" for name, cell in CELLS.items()
    }


@pytest.mark.parametrize("name", list(STACKS))
def test_combined_lstms_are_measured_against_torch_s_lstm_of_the_same_widths(name: str) -> None:
    def widths(module: Any) -> list[int]:
        return [weight.shape[1] for key, weight in module.named_parameters() if "weight_hh" in key]

    layer, lstm = STACKS[name]
    assert widths(layer(17, 19)) == widths(lstm(17, 19)) == [19, 19]


def test_captions_of_the_batch_are_as_long_as_flickr8k_s() -> None:
    batch = benchmarks._batch(100)
    assert len(batch.lengths) == 500
    assert batch.lengths.min() >= 4
    assert batch.lengths.max() <= 25
    assert batch.lengths.float().mean() == pytest.approx(11, abs=0.5)
