"""Cells and combinations of cells are measured beside torch's LSTM."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from captioning.benchmarks import speed as benchmarks
from captioning.benchmarks import timing
from captioning.benchmarks.speed import CELLS, STACKS
from captioning.commands import config_folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "EMBEDDING", 7)
    monkeypatch.setattr(benchmarks, "HIDDEN", 5)


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
