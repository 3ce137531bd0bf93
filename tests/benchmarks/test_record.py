"""A record is the mean time of the seeds that are neither best nor worst, and only if all reached the goal."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from captioning.benchmarks import record
from captioning.benchmarks.record import RecordRow, bench_record, with_record
from captioning.commands import main
from captioning.errors import InputError


def row(seconds: float, *, reached: bool = True) -> RecordRow:
    return RecordRow(1, 0.51 if reached else 0.49, reached, 10.0, seconds - 10.0, seconds)


def test_the_best_and_the_worst_seed_do_not_count() -> None:
    rows = with_record([row(900), row(20), row(30), row(50), row(40)])
    assert {found.record for found in rows} == {40.0}
    assert [found.seconds for found in rows] == [900, 20, 30, 50, 40]


def test_a_seed_that_misses_the_goal_leaves_no_record() -> None:
    rows = with_record([row(20), row(30), row(40, reached=False)])
    assert [found.record for found in rows] == [None] * 3


def test_each_seed_extracts_and_trains_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(record, "_run", lambda arguments, threads: commands.append([*arguments, str(threads)]))
    monkeypatch.setattr(record, "read_scores", lambda run: {"CIDEr": {"seed1": 0.5, "seed2": 0.499}[run.name]})
    rows = bench_record(tmp_path, tmp_path / "w.safetensors", 2, tmp_path / "runs", seeds=(1, 2))
    assert [found.reached for found in rows] == [True, False]
    assert [command[0] for command in commands] == ["extract", "train", "extract", "train"]
    features = [next(part for part in command if "features=" in part).split("=")[1] for command in commands]
    assert features[0] == features[1] != features[2] == features[3]
    for command in commands:
        assert {f"data.root={tmp_path}", f"encoder.weights={tmp_path / 'w.safetensors'}", "2"} <= set(command)
    assert f"output={tmp_path / 'runs' / 'seed2'}" in commands[3]


def test_a_command_that_fails_ends_the_benchmark_with_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: Any = subprocess.CompletedProcess([], 1, "", "captioning extract: no such folder")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(InputError, match="failed: captioning extract: no such folder"):
        bench_record(Path("nowhere"), None, None, seeds=(1,))


def test_the_command_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "record"]) == 1
    assert "bench record needs --data, Flickr8k's folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.shared
def test_the_record_s_experiment_reaches_the_goal(shared: Path) -> None:
    """Its time is measured by the command alone, because a test cannot know what else the machine does."""
    weights = shared / "weights" / "tf_efficientnet_lite2.safetensors"
    (found,) = bench_record(shared / "data" / "flickr8k", weights, None, seeds=(1,))
    assert found.reached
