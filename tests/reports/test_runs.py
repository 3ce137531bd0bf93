"""Runs are read from their folders and grouped by setting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from captioning.errors import InputError
from captioning.reports.runs import TEXT_STATISTICS, Run, group_by_setting, read_run, read_runs, shown_score_names


def run(name: str, seed: int, **overrides: str) -> Run:
    return Run(name, {**overrides, "seed": str(seed), "output": f"runs/{name}"}, {"CIDEr": 0.5, "perplexity": 12.5})


def test_runs_that_differ_only_in_seed_and_paths_are_one_setting() -> None:
    names, settings = group_by_setting([run("1", 1), run("2", 2), run("3", 3)])
    assert names == []
    assert [(setting.values, setting.count) for setting in settings] == [((), "3")]


def test_a_text_has_mean_and_standard_deviation_with_fewer_digits_from_10_on() -> None:
    (setting,) = group_by_setting([run("1", 1), run("2", 2)])[1]
    assert setting.text("CIDEr") == "0.500 ± 0.000"
    assert setting.text("perplexity") == "12.50 ± 0.00"
    assert setting.text("METEOR") == ""
    (single,) = group_by_setting([run("1", 1)])[1]
    assert single.text("CIDEr") == "0.500"


def test_a_run_that_diverged_does_not_end_the_table() -> None:
    diverged = Run("1", {"seed": "1"}, {"CIDEr": 0.0, "perplexity": float("inf")})
    (setting,) = group_by_setting([diverged, run("2", 2, **{"output": "a"})])[1]
    assert setting.text("perplexity") == "nan ± nan"
    assert setting.text("CIDEr") == "0.250 ± 0.354"


def test_text_statistics_are_shown_only_if_tokens_per_caption_differ() -> None:
    def tokenized(length: float) -> Run:
        return Run("1", {}, {"CIDEr": 0.5, **dict.fromkeys(TEXT_STATISTICS, 1.0), "tokens_per_caption": length})

    assert shown_score_names([tokenized(12.0), tokenized(12.0)]) == ["CIDEr"]
    assert shown_score_names([tokenized(12.0), tokenized(11.0)]) == ["CIDEr", *TEXT_STATISTICS]


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
    (tmp_path / "sweep.csv").touch()
    first, failed, last = read_runs(tmp_path)
    assert first == Run("1", {"seed": "1", "data.root": "a=b"}, {"CIDEr": 0.01, "perplexity": 9.0})
    assert (failed.name, failed.scores) == ("2", {})
    assert (last.name, last.scores) == ("10", {"CIDEr": 0.1, "perplexity": 9.0, "seconds": 60.5})
    assert read_runs(tmp_path / "1") == []


def test_overrides_cannot_run_code(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text(f"- !!python/object/apply:os.mkdir ['{tmp_path}/hacked']\n")
    with pytest.raises(InputError, match="not a YAML text"):
        read_run(tmp_path)
    assert not (tmp_path / "hacked").exists()


def test_a_removed_group_is_null(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(["seed=1", "~schedule"]))
    assert read_run(tmp_path).overrides == {"seed": "1", "schedule": "null"}
