"""One table over the runs of a sweep."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from captioning.errors import InputError
from captioning.reports.sweeps import OF_THE_TEXT, Run, SweepTable, read_run, read_runs, summary, write_runs

CIDER = {1: 0.41, 2: 0.47, 3: 0.5}


def run(folder: str, decoder: str, seed: int, cider: float | None) -> Run:
    figures = {} if cider is None else {"CIDEr": cider, "perplexity": 20.0 + seed}
    return Run(folder, {"decoder": decoder, "seed": str(seed)}, figures)


RUNS = [run(str(seed), "mrnn", seed, cider) for seed, cider in CIDER.items()] + [
    run("4", "show_and_tell", 1, 0.6),
    run("5", "show_and_tell", 2, None),
    run("6", "other", 1, None),
]


def rows_of(table: Table) -> list[list[str]]:
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_one_row_a_setting_with_mean_and_deviation_over_seeds() -> None:
    table = summary(RUNS)
    assert [column.header for column in table.columns] == ["decoder", "runs", "CIDEr", "perplexity"]
    mean, deviation = statistics.fmean(CIDER.values()), statistics.stdev(CIDER.values())
    assert (round(mean, 3), round(deviation, 4)) == (0.46, 0.0458)  # sqrt((0.05² + 0.01² + 0.04²) / 2)
    assert rows_of(table) == [
        ["mrnn", "3", "0.460 ± 0.046", "22.00 ± 1.00"],
        ["show_and_tell", "1 of 2", "0.600", "21.00"],
        ["other", "0 of 1", "failed", "failed"],
    ]


def test_settings_that_all_runs_share_are_not_columns_and_seeds_alone_are_one_row() -> None:
    assert rows_of(summary(RUNS[:3])) == [["3", "0.460 ± 0.046", "22.00 ± 1.00"]]


def test_how_captions_are_cut_is_told_where_runs_differ_in_it() -> None:
    cut = {"bits_per_character": 1.0, "unknown_share": 0.0}
    alike = [
        Run(str(n), {"text": "bpe", "seed": str(n)}, {"CIDEr": 0.5, **cut, "tokens_per_caption": 12.0}) for n in (1, 2)
    ]
    words = Run("3", {"text": "words", "seed": "1"}, {"CIDEr": 0.5, **cut, "tokens_per_caption": 11.0})
    assert [column.header for column in summary(alike).columns] == ["runs", "CIDEr"]
    assert [column.header for column in summary([*alike, words]).columns] == ["text", "runs", "CIDEr", *OF_THE_TEXT]


def test_nothing_but_failures_still_makes_a_table() -> None:
    assert rows_of(summary(RUNS[4:])) == [["show_and_tell", "0 of 1"], ["other", "0 of 1"]]


def test_runs_are_read_from_their_folders_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        folder = tmp_path / str(number) / ".hydra"
        folder.mkdir(parents=True)
        (folder / "overrides.yaml").write_text(yaml.safe_dump([f"seed={number}", "data.root=a=b"]))
        if number != 2:
            content = {"metrics": {"CIDEr": number / 100}, "language_model": {"perplexity": 9.0, "loss": 2.2}}
            (folder.parent / "metrics.json").write_text(json.dumps(content))
        if number == 10:
            (folder.parent / "training.json").write_text(json.dumps({"decoder_parameters": 7, "seconds": 60.5}))
    runs = read_runs(tmp_path)
    assert [run.folder for run in runs] == ["1", "2", "10"]
    assert runs[0] == Run("1", {"seed": "1", "data.root": "a=b"}, {"CIDEr": 0.01, "perplexity": 9.0})
    assert runs[1].metrics == {}
    assert runs[2].metrics == {"CIDEr": 0.1, "perplexity": 9.0, "seconds": 60.5}
    assert read_runs(tmp_path / "1") == []


def test_a_run_s_overrides_cannot_run_code(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text(f"- !!python/object/apply:os.mkdir ['{tmp_path}/hacked']\n")
    with pytest.raises(InputError, match="no list of overrides"):
        read_run(tmp_path)
    assert not (tmp_path / "hacked").exists()


def test_a_group_that_was_left_out_is_null(tmp_path: Path) -> None:
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(["seed=1", "~schedule"]))
    assert read_runs(tmp_path)[0].overrides == {"seed": "1", "schedule": "null"}


@pytest.mark.parametrize("rank", [None, "0", "1"])
def test_the_first_process_alone_tells_of_a_sweep(
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


def test_every_run_is_a_line_of_the_csv_file(tmp_path: Path) -> None:
    write_runs(tmp_path / "sweep.csv", RUNS)
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert rows[0] == {"run": "1", "decoder": "mrnn", "seed": "1", "CIDEr": "0.41", "perplexity": "21.0"}
    assert rows[4]["CIDEr"] == ""


def test_the_table_says_that_figures_are_fractions(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=120).print(summary(RUNS))
    assert "fractions" in capsys.readouterr().out
