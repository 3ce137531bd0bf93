"""captioning scenes writes a data set from its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]
SIZES = ("--train", "3", "--val", "2", "--test", "1", "--size", "32")


def test_the_data_set_is_written_and_a_second_call_changes_nothing(command: Command, tmp_path: Path) -> None:
    for _ in range(2):
        assert command("scenes", tmp_path / "scenes", *SIZES).status == 0
        counts = [len(list((tmp_path / "scenes" / f"{s}2017").iterdir())) for s in ("train", "val", "test")]
        assert counts == [3, 2, 1]


def test_other_settings_and_an_impossible_folder_are_reported(command: Command, tmp_path: Path) -> None:
    assert command("scenes", tmp_path / "scenes", *SIZES).status == 0
    assert "expected scenes with the settings" in command("scenes", tmp_path / "scenes", *SIZES, "--seed", "1").message
    assert "cannot be written" in command("scenes", "/dev/null/scenes", *SIZES).message
    assert "num_train" in command("scenes", tmp_path / "other", *SIZES, "--train", "0").message
