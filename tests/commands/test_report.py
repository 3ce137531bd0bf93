"""captioning report compares runs in one table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_a_run_s_table_is_printed_or_written(command: Command, run_folder: Path, tmp_path: Path) -> None:
    ran = command("report", run_folder)
    assert ran.status == 0, ran.err
    assert ran.out.startswith("| runs | BLEU-1 |")
    out = tmp_path / "table.html"
    assert command("report", run_folder, "--format", "html", "--output", out).status == 0
    assert "<table>" in out.read_text()


def test_a_folder_without_runs_is_reported(command: Command, tmp_path: Path) -> None:
    assert "expected the folder of a run" in command("report", tmp_path).message
