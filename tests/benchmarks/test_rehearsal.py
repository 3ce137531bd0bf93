"""A rehearsal measures the command `captioning train` itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from captioning.benchmarks import rehearsal
from captioning.benchmarks.coco_size import Size
from captioning.benchmarks.rehearsal import Measured, rehearse
from captioning.errors import InputError

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status")


def test_a_row_leaves_out_the_steps_of_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "WARM_UP", 2)
    found = Measured([9.0, 11.0, 12.0, 12.5, 13.0], [1, 5, 2_000_000, 9, 5_000_000], 4.0, 3 * 10**9, 240, [7.0, 6.0])
    row = found.row("coco/any")
    assert (row.first_step_seconds, row.first_step_cpu_seconds, row.first_step_gb) == (9.0, 4.0, 3.0)
    assert row.epoch_minutes == 0.5 * 240 / 60
    assert row.growth_mb == 3.0
    assert row.validation_seconds == [7.0, 6.0]


def test_another_system_than_linux_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "in_use", lambda: None)
    with pytest.raises(InputError, match="which only Linux has"):
        rehearse(None, None)


@LINUX
@pytest.mark.slow
def test_a_small_rehearsal_measures_every_experiment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rehearsal, "STEPS", 4)
    monkeypatch.setattr(rehearsal, "WARM_UP", 1)
    rows = rehearse(tmp_path / "data", 1, Size(train=400, evaluated=6, grid=2))
    assert [row.experiment for row in rows] == ["coco/show_and_tell", "coco/soft_attention"]
    for row in rows:
        assert row.first_step_seconds > 0
        assert 0.1 < row.first_step_gb < 10
        assert row.epoch_minutes > 0
        assert len(row.validation_seconds) == 2
