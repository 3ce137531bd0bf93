"""Shells complete commands, their options, and the groups and settings of those that Hydra configures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import argcomplete
import pytest

from captioning.commands import SUMMARIES, main

# argcomplete leaves its file to the end of the process.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

Complete = Callable[[str], list[str]]
WORDBREAKS = " \t\n\"'@><=;|&(:"  # bash's


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """Completes a line as argcomplete's function of bash asks for it. What bash has of the last word is left out."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "references.json").touch()
    monkeypatch.chdir(tmp_path / "folder")
    monkeypatch.setattr("argcomplete.finders.CompletionFinder._init_debug_stream", lambda self: None)
    for name, value in {
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_COMP_WORDBREAKS": WORDBREAKS,
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "completions"),
    }.items():
        monkeypatch.setenv(name, value)

    def run(line: str) -> list[str]:
        for name, value in {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "completions").write_text("")
        with pytest.raises(SystemExit):
            main([])
        return (tmp_path / "completions").read_text().split()

    return run


def test_commands_are_completed(complete: Complete) -> None:
    assert complete("captioning ") == list(SUMMARIES)
    assert complete("captioning sc") == ["score", "scenes"]
    assert complete("captioning nonsense ") == []


def test_options_are_completed_after_a_dash_and_files_elsewhere(complete: Complete) -> None:
    assert complete("captioning score --comp") == ["--compare"]
    assert complete("captioning caption --beam") == ["--beam-size"]
    assert complete("captioning score ../ref") == ["../references.json"]


def test_an_option_s_values_are_completed(complete: Complete) -> None:
    assert complete("captioning score --format la") == ["latex"]


def test_every_command_completes_options(complete: Complete) -> None:
    assert not [name for name in SUMMARIES if not complete(f"captioning {name} --")]


def test_hydra_s_flags_are_completed_except_those_that_are_refused(complete: Complete) -> None:
    flags = set(complete("captioning train --"))
    assert {"--cfg", "--config-dir", "--multirun"} <= flags
    assert not flags & {"--shell-completion", "--experimental-rerun"}


def test_groups_and_their_options_are_completed(complete: Complete) -> None:
    assert complete("captioning train deco") == ["decoder.", "decoder="]
    assert {"mrnn", "show_and_tell", "up_down"} <= set(complete("captioning train decoder="))
    assert complete("captioning evaluate bundle=x search=gr") == ["greedy"]
    assert complete("captioning train -m exp") == ["experiment"]  # without =, as it has options and groups of options
    assert complete("captioning train experiment=fine") == ["finetune"]
    assert complete("captioning train experiment=scenes/show") == ["scenes/show_and_tell"]


def test_what_options_of_a_group_share_is_not_completed(complete: Complete) -> None:
    assert not any(name.startswith("_") for name in complete("captioning train data="))


def test_settings_are_those_of_the_options_that_the_line_has_chosen(complete: Complete) -> None:
    assert "decoder.multimodal_size=" in complete("captioning train decoder=mrnn decoder.")
    assert "decoder.multimodal_size=" not in complete("captioning train decoder=merge decoder.")


def test_after_a_wrong_override_nothing_is_completed(complete: Complete) -> None:
    assert complete("captioning train decoder=nonsense decoder.") == []
    assert complete("captioning train --nonsense deco") == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_an_option_of_a_group(tmp_path: Path) -> None:
    """This runs argcomplete's own function of bash. Bash takes `decoder=` for a word of its own."""
    program = tmp_path / "captioning"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m captioning "$@"\n')
    program.chmod(0o755)
    line = "captioning train decoder=show"
    asked = (
        f"{argcomplete.shellcode(['captioning'])}\nCOMP_LINE='{line}' COMP_POINT={len(line)} COMP_TYPE=9\n"
        '_python_argcomplete captioning\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    search = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, env={**os.environ, **search})
    assert ran.stdout.split() == ["show_and_tell"]
