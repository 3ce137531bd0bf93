"""The table over the runs of a sweep."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.table import Table

from captioning.reports.runs import Run
from captioning.reports.sweeps import SweepTable, summary_table, write_runs

CIDER = {1: 0.41, 2: 0.47, 3: 0.5}


def run(name: str, decoder: str, seed: int, cider: float | None) -> Run:
    scores = {} if cider is None else {"CIDEr": cider, "perplexity": 20.0 + seed}
    return Run(name, {"decoder": decoder, "seed": str(seed)}, scores)


RUNS = [run(str(seed), "mrnn", seed, cider) for seed, cider in CIDER.items()] + [
    run("4", "show_and_tell", 1, 0.6),
    run("5", "show_and_tell", 2, None),
    run("6", "other", 1, None),
]


def rows_of(table: Table) -> list[list[str]]:
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_a_setting_is_one_row_with_mean_and_deviation_over_seeds() -> None:
    table = summary_table(RUNS)
    assert [column.header for column in table.columns] == ["decoder", "runs", "CIDEr", "perplexity"]
    assert "fractions" in str(table.title)
    mean, deviation = statistics.fmean(CIDER.values()), statistics.stdev(CIDER.values())
    assert (round(mean, 3), round(deviation, 4)) == (0.46, 0.0458)  # sqrt((0.05² + 0.01² + 0.04²) / 2)
    assert rows_of(table) == [
        ["mrnn", "3", "0.460 ± 0.046", "22.00 ± 1.00"],
        ["show_and_tell", "1 of 2", "0.600", "21.00"],
        ["other", "0 of 1", "failed", "failed"],
    ]


def test_a_sweep_of_failed_runs_still_has_a_table() -> None:
    assert rows_of(summary_table(RUNS[4:])) == [["show_and_tell", "0 of 1"], ["other", "0 of 1"]]


@pytest.mark.parametrize("rank", [None, "0", "1"])
def test_only_the_first_process_reports_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str | None
) -> None:
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text("[seed=1]")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    SweepTable().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert (tmp_path / "sweep.csv").exists() == (rank != "1")
    assert ("1 of 1 runs failed" in capsys.readouterr().out) == (rank != "1")


def test_every_run_is_a_row_of_the_csv_file(tmp_path: Path) -> None:
    write_runs(tmp_path / "sweep.csv", RUNS)
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(RUNS)
    assert rows[0] == {"run": "1", "decoder": "mrnn", "seed": "1", "CIDEr": "0.41", "perplexity": "21.0"}
    assert rows[4]["CIDEr"] == ""
