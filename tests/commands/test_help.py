"""The command `captioning` itself: short and fast help, and unknown commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioning import __version__
from captioning.commands import SUMMARIES, guarded

Command = Callable[..., Any]
HEAVY = ("torch", "hydra", "numpy", "PIL", "pytorch_lightning", "rich")


@pytest.mark.parametrize("name", [None, *SUMMARIES])
def test_help_fits_a_screen_and_shows_an_example(command: Command, name: str | None) -> None:
    ran = command(*([name] if name else []), "--help")
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) <= (24 if name else 30)  # the list of commands needs a larger screen
    assert max(map(len, lines)) <= 120
    assert f"captioning {name or 'scenes'} " in ran.out.partition("example" if name else "A first run")[2]


def test_what_experiments_share_is_not_listed_as_one(command: Command) -> None:
    assert "_base" not in command("train", "--help").out


def test_no_arguments_print_the_help(command: Command) -> None:
    assert command() == command("-h")
    assert all(name in command().out for name in SUMMARIES)


def test_the_version_is_printed(command: Command) -> None:
    assert command("--version").out == f"captioning {__version__}\n"


def test_an_unknown_command_is_reported_with_the_known_ones(command: Command) -> None:
    ran = command("trian")
    assert ran.status == 2
    assert ran.err == f"captioning: unknown command 'trian'; expected one of {', '.join(SUMMARIES)}\n"


def test_a_failed_move_is_reported_with_both_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lightning writes a checkpoint to a temporary folder and moves it."""
    made, place = tmp_path / "made", tmp_path / "nowhere" / "last.ckpt"
    made.touch()
    assert guarded("train", lambda: bool(made.rename(place))) == 1
    assert capsys.readouterr().err == f"captioning train: No such file or directory ({made} to {place})\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from captioning.commands import main\n"
        "for name in sys.argv[1:]:\n"
        "    try: main([*name.split(), '--help'])\n"
        "    except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "", *SUMMARIES],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ran.stdout.count("usage: captioning") == 1 + len(SUMMARIES)
    assert not set(HEAVY) & set(ran.stderr.split())
