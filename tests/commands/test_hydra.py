"""Flags, folders and sweeps, which all commands configured by Hydra share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from captioning.commands._overrides import check_overrides, read_arguments

Command = Callable[..., Any]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[DictConfig, list[str]]]:
    """The configuration of every run and the command line while it ran; nothing is trained."""
    seen: list[tuple[DictConfig, list[str]]] = []
    monkeypatch.setattr("captioning.training.run.train", lambda config, output: seen.append((config, list(sys.argv))))
    return seen


@pytest.mark.parametrize(("position", "flag"), [(0, "-m"), (1, "-m"), (2, "--multirun")])
def test_a_sweep_s_flag_may_be_anywhere(
    command: Command, runs: list[Any], tmp_path: Path, position: int, flag: str
) -> None:
    arguments = ["seed=1,2", f"output={tmp_path}"]
    arguments.insert(position, flag)
    assert command("train", *arguments).status == 0
    assert [(config.seed, config.output) for config, _ in runs] == [(1, f"{tmp_path}/0"), (2, f"{tmp_path}/1")]


@pytest.mark.parametrize("position", range(3))
def test_a_flag_with_a_value_may_be_anywhere(command: Command, runs: list[Any], position: int) -> None:
    arguments = ["seed=17", "decoder=mrnn"]
    arguments[position:position] = ["--cfg", "job"]
    ran = command("train", *arguments)
    assert ran.status == 0
    assert "seed: 17" in ran.out
    assert not runs


def test_runs_that_start_in_the_same_second_have_different_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for command, given in (("train", []), ("evaluate", ["bundle=x", "data=scenes"])):
        folders = {check_overrides(read_arguments(command, given)).hydra[kind].dir for _ in range(3) for kind in ("run", "sweep")}
        assert len(folders) == 6


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_null_deselects_a_group(command: Command, runs: list[Any], tmp_path: Path, flags: list[str]) -> None:
    null = ("experiment=scenes/mrnn", "schedule=null", "finetuning=null", "logger=null")
    assert command("train", *flags, f"output={tmp_path}", *null).status == 0
    ((config, _),) = runs
    assert (config.schedule, config.finetuning, config.get("logger")) == (None, None, None)


def test_null_in_a_sweep_of_a_group_is_refused(command: Command, runs: list[Any], tmp_path: Path) -> None:
    assert "name the option" in command("train", "-m", f"output={tmp_path}", "schedule=null,cosine").message
    assert not list(tmp_path.iterdir())
    assert command("train", "-m", f"output={tmp_path}", "schedule=constant,cosine").status == 0
    assert [config.schedule is None for config, _ in runs] == [True, False]


def test_the_other_processes_of_a_sweep_s_run_get_its_folder(
    command: Command, runs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("train", "seed=1", "-m").status == 0
    ((config, command_line),) = runs
    given = command_line[-1].removeprefix("hydra.sweep.dir=").strip("'")
    assert config.output == f"{tmp_path}/{given}/0"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert command("train", *command_line[-1:], "seed=1", "-m").status == 0  # they find the runs of their own sweep
    assert runs[1][0].output == config.output
