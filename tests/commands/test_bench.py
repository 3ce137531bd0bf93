"""captioning bench: a ratio to the bare products for every model, and to torch's LSTM for every cell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioning import benchmarks

Command = Callable[..., Any]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"FEATURE_SIZE": 13, "VOCAB_SIZE": 11, "EMBEDDING": 7, "HIDDEN": 5}.items():
        monkeypatch.setattr(benchmarks, name, size)


def test_every_model_s_ratio_is_told(command: Command, small: None, tmp_path: Path) -> None:
    ran = command("bench", "train", "beam", "--json", tmp_path / "bench.json")
    assert ran.status == 0
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert [row["name"] for row in rows] == [f"{what} {name}" for what in ("train", "beam") for name in MODELS]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["seconds"] / row["products_seconds"])
        assert row["name"] in ran.out


MODELS = ("show_and_tell lstm", "show_and_tell gru", "show_and_tell show_and_tell_lstm", "mrnn")


def test_every_cell_s_ratio_to_torch_s_lstm_is_told(command: Command, small: None, tmp_path: Path) -> None:
    ran = command("bench", "recurrent", "--json", tmp_path / "bench.json")
    assert ran.status == 0
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert [row["cell"] for row in rows] == list(benchmarks.CELLS)
    for row in rows:
        assert set(row) == {"cell", "seconds", "lstm_seconds", "ratio"}
        assert row["ratio"] == pytest.approx(row["seconds"] / row["lstm_seconds"])
        assert row["cell"] in ran.out
    assert "products" not in ran.out


def test_an_unknown_benchmark_is_told(command: Command) -> None:
    ran = command("bench", "trian")
    assert ran.status == 2
    assert "no benchmark trian; there are train, beam, recurrent" in ran.err
